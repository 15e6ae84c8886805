"""`@idempotent`: a view whose effect happens once per Idempotency-Key (IETF draft
draft-ietf-httpapi-idempotency-key-header).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import wraps
from typing import Any

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.db import transaction
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.utils.cache import patch_vary_headers
from django.utils.translation import gettext

from ..core.errors import FingerprintMismatch
from ..core.spans import span_of
from ..ledger.lifecycle import ledger_database
from ..models import EffectState, IdempotencyRecord
from . import records as log
from .replay import replayed, stored
from .request_key import BadKey, key_of_request, request_fingerprint, scope_of

View = Callable[..., Any]
KEPT = timedelta(hours=24)
METHODS = ("POST", "PATCH")
RETRY_AFTER = 1
LOOKS = 3
# What may be different a moment later is not remembered: the client is meant to ask again.
PASSING = frozenset({401, 403, 408, 409, 425, 429})


@dataclass(frozen=True, slots=True)
class _Rules:
    """What the decorator was given."""

    name: str
    required: bool
    kept: timedelta
    atomic: bool


def idempotent(
    view: View | None = None,
    *,
    required: bool = False,
    kept: timedelta = KEPT,
    atomic: bool = True,
) -> Any:
    """Make a view honour the Idempotency-Key header: one key, one effect, one answer.

    The first request with a key runs the view and its answer is stored; later ones get that answer
    with its status and headers, and `Idempotency-Replayed: true`. 409 while the first one is in
    progress; 422 when the key was used for another request; 400 for a key that is malformed, or
    missing though `required`. Keys of different users, sessions and views do not meet.

    required: refuse a POST or PATCH without a key; otherwise it runs as if not decorated.
    kept: how long an answer is remembered.
    atomic: the view's effects in the database commit together with the record of its answer. An
        `async def` view cannot have that: after a crash its effect may happen once more.

    An answer of 500 and above is not stored, and with `atomic` its effects are rolled back.
    """
    if view is None:
        return lambda view: idempotent(view, required=required, kept=kept, atomic=atomic)
    kept = span_of(kept, "kept")
    rules = _Rules(f"{view.__module__}.{view.__qualname__}", required, kept, atomic)
    return _async_wrapper(view, rules) if iscoroutinefunction(view) else _wrapper(view, rules)


def _wrapper(view: View, rules: _Rules) -> View:
    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        record = _begin(request, rules)
        if not isinstance(record, IdempotencyRecord):
            return record or view(request, *args, **kwargs)
        try:
            return _perform(record, rules, lambda: view(request, *args, **kwargs))
        except _Undone as undone:
            log.withdraw(record, ledger_database())
            return undone.response
        except BaseException:
            log.withdraw(record, ledger_database())
            raise

    return wrapper


def _async_wrapper(view: View, rules: _Rules) -> View:
    @wraps(view)
    async def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        record = await sync_to_async(_begin)(request, rules)
        if not isinstance(record, IdempotencyRecord):
            return record or await view(request, *args, **kwargs)
        try:
            response: HttpResponseBase = await view(request, *args, **kwargs)
        except BaseException:
            await sync_to_async(log.withdraw)(record, ledger_database())
            raise
        await sync_to_async(_settle)(record, response)
        return response

    return wrapper


class _Undone(Exception):
    """Rolls back what a view did, and carries what is answered instead."""

    def __init__(self, response: HttpResponseBase) -> None:
        super().__init__(response.status_code)
        self.response = response


def _perform(
    record: IdempotencyRecord, rules: _Rules, view: Callable[[], HttpResponseBase]
) -> HttpResponseBase:
    """Run the view and record its answer, in one transaction if that is wanted."""
    if not rules.atomic:
        response = view()
        _settle(record, response)
        return response
    with transaction.atomic(ledger_database()):
        response = view()
        if response.status_code >= 500:
            raise _Undone(response)
        # A request that took too long was taken over: its effects are not to happen twice.
        if not _settle(record, response):
            raise _Undone(_in_progress())
    return response


def _settle(record: IdempotencyRecord, response: HttpResponseBase) -> bool:
    """Store the answer, or forget the key if the answer is not to be kept.

    False when the record belongs to another request by now.
    """
    if response.status_code >= 500 or response.status_code in PASSING:
        log.withdraw(record, ledger_database())
        return True
    return log.complete(record, stored(response), ledger_database())


def _begin(request: HttpRequest, rules: _Rules) -> IdempotencyRecord | HttpResponseBase | None:
    """The record to fill; or the answer, if there is one; or None for a request without a key."""
    if request.method not in METHODS:
        return None
    try:
        key = key_of_request(request, required=rules.required)
    except BadKey as error:
        return _refused(400, str(error))
    if key is None:
        return None
    call = (scope_of(request, rules.name), key, request_fingerprint(request))
    try:
        return _owned_or_answered(*call, rules.kept)
    except FingerprintMismatch:
        return _refused(422, gettext("This Idempotency-Key was used for another request."))


def _owned_or_answered(
    scope: str, key: str, fingerprint: str, kept: timedelta
) -> IdempotencyRecord | HttpResponseBase:
    using = ledger_database()
    me = log.Owner()
    for _ in range(LOOKS):
        record = log.begin(scope, key, fingerprint, me, kept, using)
        if record is not None:
            return record
        found = log.find(scope, key, fingerprint, using)
        if found is None:
            continue
        if found.state == EffectState.DONE:
            return replayed(found.response)
        if found.state == EffectState.UNKNOWN or not log.owner_is_gone(found, me, using):
            break
        if (taken := log.take_over(found, me, using)) is not None:
            return taken
    return _in_progress()


def _in_progress() -> HttpResponseBase:
    response = _refused(409, gettext("A request with this Idempotency-Key is in progress."))
    response.headers["Retry-After"] = str(RETRY_AFTER)
    return response


def _refused(status: int, error: str) -> HttpResponseBase:
    response = JsonResponse({"error": error}, status=status)
    patch_vary_headers(response, ["Idempotency-Key"])
    return response
