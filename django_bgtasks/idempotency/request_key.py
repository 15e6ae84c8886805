"""The Idempotency-Key of a request, and whose it is."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from functools import partial
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils.translation import gettext as _

# A string of RFC 8941, which the draft asks for, or a bare one, which many clients send.
_QUOTED = re.compile(r'"((?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')
_BARE = re.compile(r"[\x21\x23-\x7e]+")
# What the headers and cookies are called by which a request says who it is.
_CREDENTIAL = re.compile(
    r"auth|token|jwt|session|secret|principal|identity|(api|access|client)[-_]?(key|id|cert)"
    r"|client[-_](.*[-_])?(dn|subject|verify|serial|fingerprint)"
    r"|(remote|forwarded)[-_]?(user|email)|user[-_](login|id|email|name)|^x[-_]user$",
    re.IGNORECASE,
)
# What a server that checks certificates itself tells of them, all but the days that are left.
_CERTIFICATE = re.compile(r"SSL_CLIENT_(?!V_REMAIN$).*")
_ANTI_FORGERY = re.compile(r"csrf|xsrf", re.IGNORECASE)
# A header's name, or a function of the request.
Identity = str | Callable[[Any], Any]


class BadKey(Exception):
    """The header is missing or malformed; the message is for the client."""


def key_of_request(request: HttpRequest, *, required: bool) -> str | None:
    """The key; None without one. BadKey when it is malformed, or missing though required."""
    text = request.headers.get("Idempotency-Key")
    if text is None:
        if required:
            raise BadKey(_("This request needs an Idempotency-Key header."))
        return None
    text = text.strip()
    quoted = _QUOTED.fullmatch(text)
    key = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else text
    if not (quoted or _BARE.fullmatch(text)) or not 1 <= len(key) <= 255:
        text = _('The Idempotency-Key is a string of 1 to 255 characters, such as "8e03978e".')
        raise BadKey(text)
    return key


def scope_of(request: HttpRequest, view: str, identity: Identity | None) -> str:
    """Keeps the keys of callers, of sites and of routes apart."""
    match = request.resolver_match
    parts = [view, match.route if match else "", request.get_host(), _caller(request, identity)]
    return f"view:{hashlib.sha256(json.dumps(parts).encode()).hexdigest()}"


def name_of_view(view: Any) -> str:
    """The dotted path of a view: of the class whose method it is, or that as_view() was asked of.

    A base class may have the method; its classes are different views.
    """
    bound: Any = view
    while isinstance(bound, partial):
        bound = bound.func
    cls: Any = getattr(view, "view_class", None) or getattr(view, "cls", None)
    if cls is None and (instance := getattr(bound, "__self__", None)) is not None:
        cls = type(instance)
    if cls is not None:
        # DRF's api_view() sets the name of the classes that it makes, and not their path.
        return f"{cls.__module__}.{cls.__qualname__}.{cls.__name__}.{_name(bound)}"
    return f"{getattr(bound, '__module__', '')}.{_name(bound)}"


def _name(view: Any) -> str:
    return str(getattr(view, "__qualname__", None) or type(view).__qualname__)


def _caller(request: Any, identity: Identity | None) -> list[Any]:
    """Who asks: what the view's `identity` says, or else the user, or else the credentials."""
    if identity is not None:
        found = request.headers.get(identity) if isinstance(identity, str) else identity(request)
        if found not in (None, ""):
            return ["identity", str(found)]
    # In tests of Django REST framework it is forced, and known before it authenticates.
    user: Any = getattr(request, "_force_auth_user", None) or getattr(request, "user", None)
    certificate = sorted(
        (name, str(value)) for name, value in request.META.items() if _CERTIFICATE.fullmatch(name)
    )
    credentials = [request.META.get("REMOTE_USER"), certificate, _credentials(request.headers)]
    if user is not None and user.is_authenticated and getattr(user, "pk", None) is not None:
        who = ["user", f"{user.__class__.__module__}.{user.__class__.__qualname__}", str(user.pk)]
        # Django REST framework has authenticated its request, maybe by a token that is renewed.
        # Of Django's the user is the session's, and the view may look at a token of another one.
        return who if hasattr(request, "_request") else [*who, *credentials]
    session: Any = getattr(request, "session", None)
    visitor = ["visitor", getattr(session, "session_key", None)]
    return [*visitor, *credentials, _cookies(request)]


def _credentials(values: Any) -> list[tuple[str, str]]:
    """What is called like a credential; not what protects from forged requests."""
    return sorted(
        (name.lower(), value)
        for name, value in values.items()
        if _CREDENTIAL.search(name) and not _ANTI_FORGERY.search(name)
    )


def _cookies(request: Any) -> list[tuple[str, str]]:
    """Without the session's: it is known by its key, and may be new with each request."""
    names = (settings.SESSION_COOKIE_NAME, settings.CSRF_COOKIE_NAME)
    return _credentials({n: value for n, value in request.COOKIES.items() if n not in names})
