"""Who may read the pages for machines. Without a token in the settings they do not exist."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from ..core.options import backend_settings, entries

PERMISSION = "django_bgtasks.view_dashboard"
View = Callable[[HttpRequest, list[str]], HttpResponse]


def for_machines(view: View) -> Callable[[HttpRequest], HttpResponse]:
    """A view of the backends that a request may see: `Authorization: Bearer`, or staff.

    404 while no backend has a `monitoring_token`, 401 without a right one, 403 for a user who may
    not see the dashboard. A request with a token is judged by that alone: no session is read.
    """

    @transaction.non_atomic_requests
    @never_cache
    @require_safe
    @wraps(view)
    def guarded(request: HttpRequest) -> HttpResponse:
        tokens = _tokens()
        if not tokens:
            raise Http404("No monitoring_token is set.")
        given = request.headers.get("Authorization")
        if given is None:
            return view(request, list(tokens)) if _is_admitted(request) else _refused(request)
        backends = _opened_by(given, tokens)
        return view(request, backends) if backends else _refused(None)

    return guarded


def _tokens() -> dict[str, str]:
    """The token of each backend that has one."""
    found = {}
    for backend in entries():
        try:
            token = backend_settings(backend).options.monitoring_token
        except ImproperlyConfigured:
            continue
        if token:
            found[backend] = token
    return found


def _opened_by(given: str, tokens: dict[str, str]) -> list[str]:
    """The backends whose token this is; all are compared, each in constant time."""
    scheme, _, secret = given.partition(" ")
    right = [backend for backend, token in tokens.items() if constant_time_compare(secret, token)]
    return right if scheme.lower() == "bearer" else []


def _is_admitted(request: HttpRequest) -> bool:
    user = getattr(request, "user", None)
    return bool(user and user.is_active and user.is_staff and user.has_perm(PERMISSION))


def _refused(request: HttpRequest | None) -> HttpResponse:
    """403 for somebody who is known; 401 for all others."""
    user = getattr(request, "user", None)
    if user is not None and user.is_authenticated:
        return HttpResponse("Forbidden\n", status=403, content_type="text/plain")
    headers = {"WWW-Authenticate": 'Bearer realm="django_bgtasks"'}
    return HttpResponse("Unauthorized\n", status=401, content_type="text/plain", headers=headers)
