"""Who may see what: a job and its result, and the pages for machines.

For everybody else they do not exist.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import wraps
from typing import Any
from uuid import UUID

from django.core.exceptions import ImproperlyConfigured
from django.core.signing import BadSignature, TimestampSigner
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from ..core.options import backend_settings, entries
from ..core.payload import may_see_secrets
from ..ledger.lifecycle import ledger_database
from ..models import Batch, Job

SIGNED_FOR = timedelta(hours=24)
_signer = TimestampSigner(salt="django_bgtasks.status")
DASHBOARD_PERMISSION = "django_bgtasks.view_dashboard"
MachineView = Callable[[HttpRequest, list[str]], HttpResponse]


@dataclass(frozen=True, slots=True)
class Viewer:
    """What somebody may see of a job or a batch and do to it. name: that of the user."""

    is_owner: bool = False
    is_operator: bool = False
    sees_result: bool = False
    may_cancel: bool = False
    name: str = ""


def signature_of(job_id: object) -> str:
    """What proves that the site gave away the address of this job, and when."""
    return _signer.sign(str(job_id)).partition(":")[2]


def read_row(row_id: UUID) -> Job | Batch | None:
    """The job, or the batch, as it is now."""
    using = ledger_database()
    job = Job.objects.using(using).filter(pk=row_id).first()
    return job or Batch.objects.using(using).filter(pk=row_id).first()


def read_again(row: Job | Batch) -> Job | Batch | None:
    """The same row as it is now."""
    model: Any = type(row)
    found: Job | Batch | None = model.objects.using(ledger_database()).filter(pk=row.pk).first()
    return found


def row_for(request: HttpRequest, row_id: UUID) -> tuple[Job | Batch, Viewer]:
    """The job or batch and what this request may see of it; Http404 when that is nothing."""
    row = read_row(row_id)
    viewer = viewer_of(row, getattr(request, "user", None)) if row else None
    if row is not None and viewer is None and _is_signed(request, row_id):
        viewer = Viewer(sees_result=True)
    if row is None or viewer is None:
        raise Http404(gettext("There is no such job."))
    return row, viewer


def viewer_of(row: Job | Batch, user: Any) -> Viewer | None:
    """What a user may see of a job or a batch; None for nothing."""
    if user is None or not user.is_authenticated:
        return None
    owner, kind = _owner_of(row), row._meta.model_name
    owns = owner is not None and owner == user.pk
    operates = bool(user.is_staff and user.has_perm(f"django_bgtasks.view_{kind}"))
    if not owns and not operates:
        return None
    return Viewer(
        is_owner=owns,
        is_operator=operates,
        sees_result=owns or may_see_secrets(user),
        may_cancel=owns or user.has_perm(f"django_bgtasks.cancel_{kind}"),
        name=user.get_username(),
    )


def _owner_of(row: Job | Batch) -> Any:
    """The key of its owner; a part of a workflow is of the owner of the whole."""
    if isinstance(row, Job) or row.root == row.pk:
        return row.owner_id
    roots = Batch.objects.using(ledger_database()).filter(pk=row.root)
    return roots.values_list("owner", flat=True).first()


def _is_signed(request: HttpRequest, job_id: UUID) -> bool:
    signature = request.GET.get("signature", "")
    try:
        _signer.unsign(f"{job_id}:{signature}", max_age=SIGNED_FOR)
    except BadSignature:
        return False
    return True


def for_machines(view: MachineView) -> Callable[[HttpRequest], HttpResponse]:
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
        header = request.headers.get("Authorization")
        if header is None:
            return view(request, list(tokens)) if _may_see_dashboard(request) else _refusal(request)
        backends = _opened_by(header, tokens)
        return view(request, backends) if backends else _refusal(None)

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


def _opened_by(header: str, tokens: dict[str, str]) -> list[str]:
    """The backends whose token this is; all are compared, each in constant time."""
    scheme, _space, secret = header.partition(" ")
    right = [backend for backend, token in tokens.items() if constant_time_compare(secret, token)]
    return right if scheme.lower() == "bearer" else []


def _may_see_dashboard(request: HttpRequest) -> bool:
    user = getattr(request, "user", None)
    return bool(user and user.is_active and user.is_staff and user.has_perm(DASHBOARD_PERMISSION))


def _refusal(request: HttpRequest | None) -> HttpResponse:
    """403 for somebody who is known; 401 for all others."""
    user = getattr(request, "user", None)
    if user is not None and user.is_authenticated:
        return HttpResponse("Forbidden\n", status=403, content_type="text/plain")
    headers = {"WWW-Authenticate": 'Bearer realm="django_bgtasks"'}
    return HttpResponse("Unauthorized\n", status=401, content_type="text/plain", headers=headers)
