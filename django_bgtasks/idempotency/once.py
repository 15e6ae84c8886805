"""`once`: an effect that happens once per key, and its recorded value afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import timedelta
from functools import partial
from typing import Any, Literal, TypeVar, cast, overload
from uuid import uuid4

from django.db import connections, transaction

from ..core import clock
from ..core.current import running
from ..core.errors import EffectInProgress, EffectUnknown, IdempotencyError, InvalidArguments
from ..core.payload import fault_of, json_value, plain
from ..core.spans import span_of
from ..ledger.connection import (
    is_in_transaction,
    retry_if_lost,
    retry_on_conflict,
    retry_until_connected,
)
from ..ledger.lifecycle import ledger_database
from ..models import EffectState, IdempotencyRecord
from . import records as log
from .fingerprint import fingerprint_of

T = TypeVar("T")
Mode = Literal["at_least_once", "at_most_once"]
KEEP_FOR = timedelta(days=30)
RETRY_SECONDS = 5
WAIT_SECONDS = 5.0


class _Call:
    """One use of a key: who asks, for what, and how the record is kept."""

    def __init__(
        self, scope: str, key: str, fingerprint: str, mode: Mode, keep_for: timedelta
    ) -> None:
        if mode not in ("at_least_once", "at_most_once"):
            raise ValueError(f"once: mode is 'at_least_once' or 'at_most_once', not {mode!r}.")
        for what, text, longest, shortest in (("key", key, 255, 1), ("scope", scope, 100, 0)):
            if fault := fault_of(text, longest, shortest):
                raise InvalidArguments(f"once: a {what} {fault}")
        self.scope, self.key, self.fingerprint = plain(scope), plain(key), fingerprint
        self.mode, self.using = mode, ledger_database()
        self.keep_for = span_of(keep_for, "once: keep_for")
        run = running.get()
        self.owner = log.Owner(run.job.pk, run.job.attempt) if run else log.Owner()
        self.token = uuid4()

    def patiently(self, write: Callable[[], T]) -> T:
        """Write to the record, also if the connection was lost; a job waits for the database.

        Within a transaction the connection is the caller's, and so is the error.
        """
        if self.owner.job is None or is_in_transaction(self.using):
            return retry_if_lost(write, self.using)
        return retry_until_connected(lambda: retry_if_lost(write, self.using), self.using)

    def begin(self) -> IdempotencyRecord | None:
        """Own the effect; None if it is done. Raises when it may not be performed now."""
        deadline = clock.monotonic() + WAIT_SECONDS
        while True:
            call = (self.scope, self.key, self.fingerprint, self.owner, self.keep_for)
            record = log.begin(*call, self.using, self.token)
            if record is not None:
                return record
            found = self.find()
            if found is None:
                # It was forgotten between our insert and our look: the key is free again.
                self.refuse_after(deadline)
                continue
            if found.token == self.token:
                # The answer was lost, and not the record.
                return found
            if found.state == EffectState.DONE:
                return None
            if found.state == EffectState.UNKNOWN:
                raise self.unknown()
            if not log.owner_is_gone(found, self.owner, self.using):
                # In a transaction waiting would hold its locks, which the other may need.
                self.refuse_after(0.0 if connections[self.using].in_atomic_block else deadline)
                time.sleep(0.05)
            elif own := self.take_over(found):
                return own

    def refuse_after(self, deadline: float) -> None:
        if clock.monotonic() > deadline:
            raise EffectInProgress(RETRY_SECONDS, f"The effect of key {self.key!r} is in progress.")

    def take_over(self, found: IdempotencyRecord) -> IdempotencyRecord | None:
        if self.mode == "at_most_once":
            log.give_up_on(found, self.using)
            raise self.unknown()
        return log.take_over(found, self.owner, self.using, self.token)

    def find(self) -> IdempotencyRecord | None:
        return log.find(self.scope, self.key, self.fingerprint, self.using)

    def unknown(self) -> EffectUnknown:
        return EffectUnknown.of("effect_unknown", key=repr(self.key))


@overload
def once(
    key: str, /, *, mode: Mode = ..., scope: str = ..., keep_for: timedelta = ...
) -> AbstractContextManager[bool]: ...


@overload
def once(
    key: str,
    func: Callable[..., T],
    /,
    *args: Any,
    mode: Mode = ...,
    atomic: bool = ...,
    scope: str = ...,
    keep_for: timedelta = ...,
    **kwargs: Any,
) -> T: ...


def once(
    key: str,
    func: Callable[..., Any] | None = None,
    /,
    *args: Any,
    mode: Mode = "at_least_once",
    atomic: bool = False,
    scope: str = "",
    keep_for: timedelta = KEEP_FOR,
    **kwargs: Any,
) -> Any:
    """Run an effect once per key, in a task, a view or a command.

    `once(key, func, *args, **kwargs)` runs func(*args, **kwargs) and returns its value; later
    calls return the recorded value. `with once(key) as first:` runs its block in one transaction
    with the record; `first` is False when it was done before.

    mode: "at_least_once" repeats an effect whose outcome a crash left unknown; "at_most_once"
        marks it unknown instead and raises EffectUnknown, for a person to decide.
    atomic: record and effect commit together, for effects in the database. Inside a transaction
        this is always so. If another transaction is in the way, the database undoes both, and
        func is called again.
    scope: keeps the keys of different callers apart.
    keep_for: how long the key is remembered.

    Raises EffectInProgress when another caller does not finish within 5 s (a task then runs again
    a little later by itself), EffectUnknown, or FingerprintMismatch when the key was used with
    other arguments.
    """
    if func is None:
        return _block(_Call(scope, key, "", mode, keep_for))
    call = _Call(scope, key, fingerprint_of(args=args, kwargs=kwargs), mode, keep_for)
    if atomic or connections[call.using].in_atomic_block:
        return _database_effect(call, func, args, kwargs)
    return _external_effect(call, func, args, kwargs)


@contextmanager
def _block(call: _Call) -> Iterator[bool]:
    if call.mode == "at_most_once":
        raise IdempotencyError("`with once(…)` is one transaction: at_most_once takes a function.")
    with _transaction(call) as record:
        yield record is not None
        if record is not None:
            log.complete(record, None, call.using)


@contextmanager
def _transaction(call: _Call) -> Iterator[IdempotencyRecord | None]:
    """One transaction for record and effect; the record with which it begins, None if it is done.

    That the connection was lost comes to light with the first statement: it is begun anew then, and
    also if another transaction is in the way.
    """
    with ExitStack() as opened:

        def begin() -> IdempotencyRecord | None:
            with ExitStack() as opening:
                opening.enter_context(transaction.atomic(call.using))
                record = call.begin()
                opened.push(opening.pop_all())
                return record

        yield call.patiently(partial(retry_on_conflict, begin, call.using))


def _database_effect(call: _Call, func: Callable[..., T], args: Any, kwargs: Any) -> T:
    """The record commits with the effect: either both happened or neither."""
    if call.mode == "at_most_once":
        raise IdempotencyError(
            f"at_most_once needs commits of its own: call once({call.key!r}, …) outside of a "
            f"transaction and without atomic=True."
        )

    def effect() -> T:
        with _transaction(call) as record:
            if record is None:
                return cast(T, _recorded(call))
            value = func(*args, **kwargs)
            _complete(call, record, value)
            return value

    return retry_on_conflict(effect, call.using)


def _external_effect(call: _Call, func: Callable[..., T], args: Any, kwargs: Any) -> T:
    """The record says `in_progress` before the call: a crash in between is seen afterwards."""
    record = call.patiently(call.begin)
    if record is None:
        return cast(T, _recorded(call))
    try:
        value = func(*args, **kwargs)
    except Exception:
        # It raised, so it is known not to be done. An at_most_once effect may have happened all
        # the same, say on a timeout: nobody may repeat it.
        leave = log.give_up_on if call.mode == "at_most_once" else log.withdraw
        call.patiently(lambda: leave(record, call.using))
        raise
    _complete(call, record, value)
    return value


def _complete(call: _Call, record: IdempotencyRecord, value: Any) -> None:
    try:
        response = json_value(value, f"the value of the effect {call.key!r}", "once")
    except InvalidArguments:
        # It has happened and cannot be told: nobody may repeat it unseen.
        call.patiently(lambda: log.give_up_on(record, call.using))
        raise
    call.patiently(lambda: log.complete(record, response, call.using))


def _recorded(call: _Call) -> Any:
    record = call.patiently(call.find)
    return record.response if record is not None else None
