"""`@idempotent`: a view whose effect happens once per Idempotency-Key (IETF draft
draft-ietf-httpapi-idempotency-key-header).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from datetime import timedelta
from functools import partial, wraps
from inspect import isawaitable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.db import DatabaseError, InterfaceError, connections, transaction
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.utils.cache import patch_vary_headers
from django.utils.translation import gettext

from ..core.errors import FingerprintMismatch
from ..core.spans import span_of
from ..ledger.connection import is_aborted
from ..ledger.lifecycle import ledger_database
from ..models import EffectState, IdempotencyRecord
from . import records as log
from .replay import rendered, replayed, stored
from .request_body import django_request, request_fingerprint
from .request_key import BadKey, Identity, key_of_request, name_of_view, scope_of

logger = logging.getLogger("django_bgtasks.http")
View = Callable[..., Any]
KEEP_FOR = timedelta(hours=24)
METHODS = ("POST", "PATCH")
RETRY_AFTER = 1
LOOKS = 3
# What may be different a moment later is not remembered: the client is meant to ask again.
PASSING = frozenset({401, 403, 408, 409, 425, 429})
# The attribute of a request whose view runs under its key: one decorator is enough.
UNDER_KEY = "_bgtasks_under_idempotency_key"


@dataclass(frozen=True, slots=True)
class _Rules:
    """What the decorator was given."""

    required: bool
    keep_for: timedelta
    atomic: bool
    identity: Identity | None


@dataclass(frozen=True, slots=True)
class _Call:
    """One request for a view."""

    request: Any
    name: str
    run: View
    rules: _Rules


def idempotent(
    view: View | None = None,
    *,
    required: bool = False,
    keep_for: timedelta = KEEP_FOR,
    atomic: bool = True,
    identity: Identity | None = None,
) -> Any:
    """Make a view honour the Idempotency-Key header: one key, one effect, one answer.

    The first request with a key runs the view and its answer is stored; later ones get that answer
    with its status and headers, and `Idempotency-Replayed: true`. 409 while the first one is in
    progress; 422 when the key was used for another request; 400 for a key that is malformed, or
    missing though `required`. Keys of different callers, hosts, routes and views do not meet.

    It is for functions and for methods: `@idempotent` on `def post(self, request)`, or
    `@method_decorator(idempotent, name="dispatch")` on the class.

    required: refuse a POST or PATCH without a key; otherwise it runs as if not decorated.
    keep_for: how long an answer is remembered.
    atomic: the view's effects in the database commit together with the record of its answer. An
        `async def` view cannot have that: after a crash its effect may happen once more.
    identity: who asks, as the name of a header or as a function of the request. Where it gives
        nothing, and by default, it is the user, or the session, with the credentials of the
        request: what has a name like Authorization, X-Api-Key or access_token.

    An answer of 500 and above is not stored, and with `atomic` its effects are rolled back. What
    the view itself rolls back is not stored either.
    """
    if view is None:
        options: Any = {"required": required, "keep_for": keep_for, "atomic": atomic}
        return partial(idempotent, **options, identity=identity)
    if isinstance(view, type):
        raise TypeError(
            f"@idempotent decorates a view or a method, not the class {view.__qualname__}. Write "
            f'@method_decorator(idempotent, name="dispatch") above the class.'
        )
    if iscoroutinefunction(identity):
        raise TypeError("@idempotent: identity is a plain function, not an `async def` one.")
    rules = _Rules(required, span_of(keep_for, "keep_for"), atomic, identity)
    return _wrapper(view, rules)


def _wrapper(view: View, rules: _Rules) -> View:
    @wraps(view)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        instance, request = _instance_and_request(args, kwargs)
        bound: Any = view if instance is None else view.__get__(instance)
        call = _Call(request, name_of_view(bound), partial(view, *args, **kwargs), rules)
        return _answer_later(call) if _is_async(bound) else _answer(call)

    return markcoroutinefunction(wrapper) if iscoroutinefunction(view) else wrapper


def _instance_and_request(args: Any, kwargs: Any) -> tuple[Any, Any]:
    """A method is called with its object first, a view with the request."""
    if len(args) > 1 and not _is_request(args[0]) and _is_request(args[1]):
        return args[0], args[1]
    if "request" in kwargs:
        return (args[0] if args else None), kwargs["request"]
    return None, args[0]


def _is_request(value: Any) -> bool:
    return isinstance(django_request(value), HttpRequest)


def _is_async(bound: Any) -> bool:
    """Whether a coroutine comes of it. The `dispatch` of a class does not look like that."""
    while isinstance(bound, partial):
        bound = bound.func
    instance = getattr(bound, "__self__", None)
    return iscoroutinefunction(bound) or bool(getattr(instance, "view_is_async", False))


def _answer(call: _Call) -> HttpResponseBase:
    record = _begin(call)
    if not isinstance(record, IdempotencyRecord):
        return record or call.run()
    using = ledger_database()
    try:
        return _perform(record, call)
    except _Undone as undone:
        connection = connections[using]
        each_request = connection.settings_dict["ATOMIC_REQUESTS"]
        if undone.by_view and each_request and connection.in_atomic_block:
            # It meant the transaction of the request, of which ours is a part.
            transaction.set_rollback(True, using)
        _forget(record)
        return undone.response
    except BaseException:
        _forget(record)
        raise


async def _answer_later(call: _Call) -> HttpResponseBase:
    record = await sync_to_async(_begin)(call)
    if not isinstance(record, IdempotencyRecord):
        return record or await _awaited(call.run())
    return await _to_its_end(_perform_later(record, call))


async def _perform_later(record: IdempotencyRecord, call: _Call) -> HttpResponseBase:
    try:
        with _under_key(call.request):
            response = await _awaited(call.run())
        return await sync_to_async(_rendered_and_settled)(record, response, call.request)
    except BaseException:
        await sync_to_async(_forget)(record)
        raise


async def _awaited(answer: Any) -> Any:
    return await answer if isawaitable(answer) else answer


async def _to_its_end(work: Coroutine[Any, Any, HttpResponseBase]) -> HttpResponseBase:
    """Await it, also when the client goes away: it asks again with the same key for the answer.

    Django cancels a view whose client has gone, in the middle of its effects. A second
    cancellation is heard: the server stops.
    """
    context = copy_context()
    task = asyncio.create_task(work, context=context)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise
    finally:
        for variable, value in context.items():
            if variable.get(None) is not value:
                variable.set(value)


class _Undone(Exception):
    """Rolls back what a view did, and carries what is answered instead."""

    def __init__(self, response: HttpResponseBase, *, by_view: bool = False) -> None:
        super().__init__(response.status_code)
        self.response, self.by_view = response, by_view


def _perform(record: IdempotencyRecord, call: _Call) -> HttpResponseBase:
    """Run the view and record its answer, in one transaction if that is wanted."""
    if not call.rules.atomic:
        with _under_key(call.request):
            response = call.run()
        return _rendered_and_settled(record, response, call.request)
    with transaction.atomic(ledger_database()):
        with _under_key(call.request):
            response = rendered(call.run())
        if _is_rolled_back(response):
            raise _Undone(response, by_view=True)
        if response.status_code >= 500:
            raise _Undone(response)
        # A request that took too long was taken over: its effects are not to happen twice.
        if not _settle(record, response, call.request):
            raise _Undone(_in_progress())
    return response


@contextmanager
def _under_key(request: Any) -> Iterator[None]:
    base = django_request(request)
    setattr(base, UNDER_KEY, True)
    try:
        yield
    finally:
        delattr(base, UNDER_KEY)


def _rendered_and_settled(
    record: IdempotencyRecord, response: Any, request: Any
) -> HttpResponseBase:
    response = rendered(response)
    if _is_rolled_back(response):
        _forget(record)
    else:
        _settle(record, response, request)
    return response  # type: ignore[no-any-return]


def _settle(record: IdempotencyRecord, response: HttpResponseBase, request: Any) -> bool:
    """Store the answer, or forget the key if the answer is not to be kept.

    False when the record belongs to another request by now.
    """
    if response.status_code >= 500 or response.status_code in PASSING:
        log.withdraw(record, ledger_database())
        return True
    return log.complete(record, stored(response, request), ledger_database())


def _is_rolled_back(response: HttpResponseBase) -> bool:
    """Whether the view has seen to it that nothing it did will be committed.

    It says so (`set_rollback`), or it answers an error of the database with an error of its own.
    """
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block and (
            connection.needs_rollback or (response.status_code >= 400 and is_aborted(connection))
        ):
            return True
    return False


def _forget(record: IdempotencyRecord) -> None:
    """Leave the key free for the next request. What became of this one is more important."""
    using = ledger_database()
    if connections[using].needs_rollback or is_aborted(connections[using]):
        # The record goes with the transaction in which it was made.
        return
    try:
        log.withdraw(record, using)
    except (DatabaseError, InterfaceError) as error:
        logger.warning("An idempotency key stays taken until its lease is over: %s", error)


def _begin(call: _Call) -> IdempotencyRecord | HttpResponseBase | None:
    """The record to fill; or the answer, if there is one; or None for a request without a key."""
    request, rules = call.request, call.rules
    if request.method not in METHODS or hasattr(django_request(request), UNDER_KEY):
        return None
    try:
        key = key_of_request(request, required=rules.required)
    except BadKey as error:
        return _refusal(400, str(error))
    if key is None:
        return None
    scope = scope_of(request, call.name, rules.identity)
    try:
        return _owned_or_answered(scope, key, request_fingerprint(request), rules.keep_for)
    except FingerprintMismatch:
        return _refusal(422, gettext("This Idempotency-Key was used for another request."))


def _owned_or_answered(
    scope: str, key: str, fingerprint: str, keep_for: timedelta
) -> IdempotencyRecord | HttpResponseBase:
    using = ledger_database()
    me = log.Owner()
    for _ in range(LOOKS):
        record = log.begin(scope, key, fingerprint, me, keep_for, using)
        if record is not None:
            return record
        found = log.find(scope, key, fingerprint, using)
        if found is None:
            continue
        if found.state == EffectState.DONE:
            return replayed(found.response)
        if found.state == EffectState.UNKNOWN or not log.owner_is_gone(found, me, using):
            break
        if (own := log.take_over(found, me, using)) is not None:
            return own
    return _in_progress()


def _in_progress() -> HttpResponseBase:
    response = _refusal(409, gettext("A request with this Idempotency-Key is in progress."))
    response.headers["Retry-After"] = str(RETRY_AFTER)
    return response


def _refusal(status: int, error: str) -> HttpResponseBase:
    response = JsonResponse({"error": error}, status=status)
    patch_vary_headers(response, ["Idempotency-Key"])
    return response
