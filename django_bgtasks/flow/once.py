"""`once`: an effect that happens once per key, and its recorded value afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import timedelta
from typing import Any, Literal, TypeVar, cast, overload

from django.db import connections, transaction

from ..core import clock
from ..core.errors import EffectInProgress, EffectUnknown, IdempotencyError, InvalidArguments
from ..core.payload import checked
from ..core.reasons import EFFECT_UNKNOWN
from ..ledger import idempotency as log
from ..ledger.outages import in_transaction, retry_on_conflict
from ..ledger.sql import ledger_alias
from ..models import EffectState, IdempotencyRecord
from .current import current_job

T = TypeVar("T")
Mode = Literal["at_least_once", "at_most_once"]
KEPT = timedelta(days=30)
RETRY_SECONDS = 5
WAIT_SECONDS = 5.0


class _Call:
    """One use of a key: who asks, for what, and how the record is kept."""

    def __init__(self, scope: str, key: str, fingerprint: str, mode: Mode, kept: timedelta) -> None:
        if mode not in ("at_least_once", "at_most_once"):
            raise ValueError(f"once: mode is 'at_least_once' or 'at_most_once', not {mode!r}.")
        if not key or len(key) > 255:
            raise ValueError(f"once: a key has 1 to 255 characters, not {len(key)}.")
        if len(scope) > 100:
            raise ValueError(f"once: a scope has at most 100 characters, not {len(scope)}.")
        self.scope, self.key, self.fingerprint = scope, key, fingerprint
        self.mode, self.kept, self.alias = mode, kept, ledger_alias()
        context = current_job()
        self.owner = log.Owner(context.job_id, context.attempt) if context else log.Owner()

    def begin(self) -> IdempotencyRecord | None:
        """Own the effect; None if it is done. Raises when it may not be performed now."""
        deadline = clock.monotonic() + WAIT_SECONDS
        while True:
            record = log.begin(
                self.scope, self.key, self.fingerprint, self.owner, self.kept, self.alias
            )
            if record is not None:
                return record
            found = self.find()
            if found is None:
                # It was forgotten between our insert and our look: the key is free again.
                self.refuse_after(deadline)
                continue
            if found.state == EffectState.DONE:
                return None
            if found.state == EffectState.UNKNOWN:
                raise self.unknown()
            if not log.owner_is_gone(found, self.owner, self.alias):
                self.wait(deadline)
                continue
            taken = self.take_over(found)
            if taken is not None:
                return taken

    def wait(self, deadline: float) -> None:
        # In a transaction waiting would hold its locks, which the other caller may need.
        self.refuse_after(0.0 if connections[self.alias].in_atomic_block else deadline)
        time.sleep(0.05)

    def refuse_after(self, deadline: float) -> None:
        if clock.monotonic() > deadline:
            raise EffectInProgress(RETRY_SECONDS, f"The effect of key {self.key!r} is in progress.")

    def take_over(self, found: IdempotencyRecord) -> IdempotencyRecord | None:
        if self.mode == "at_most_once":
            log.give_up_on(found, self.alias)
            raise self.unknown()
        return log.take_over(found, self.owner, self.alias)

    def find(self) -> IdempotencyRecord | None:
        return log.find(self.scope, self.key, self.fingerprint, self.alias)

    def unknown(self) -> EffectUnknown:
        return EffectUnknown(EFFECT_UNKNOWN % {"key": repr(self.key)})


@overload
def once(
    key: str, /, *, mode: Mode = ..., scope: str = ..., kept: timedelta = ...
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
    kept: timedelta = ...,
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
    kept: timedelta = KEPT,
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
    kept: how long the key is remembered.

    Raises EffectInProgress when another caller does not finish within 5 s (a task then runs again
    a little later by itself), EffectUnknown, or FingerprintMismatch when the key was used with
    other arguments.
    """
    if func is None:
        return _block(_Call(scope, key, "", mode, kept))
    call = _Call(scope, key, log.fingerprint_of([args, kwargs]), mode, kept)
    if atomic or connections[call.alias].in_atomic_block:
        return _database_effect(call, func, args, kwargs)
    return _external_effect(call, func, args, kwargs)


@contextmanager
def _block(call: _Call) -> Iterator[bool]:
    if call.mode == "at_most_once":
        raise IdempotencyError("`with once(…)` is one transaction: at_most_once takes a function.")
    # Its beginning is tried again if others are in the way, which the block itself cannot be.
    transaction_of, record = retry_on_conflict(lambda: _begun(call), call.alias)
    with transaction_of:
        yield record is not None
        if record is not None:
            log.complete(record, None, call.alias)


def _begun(call: _Call) -> tuple[ExitStack, IdempotencyRecord | None]:
    with ExitStack() as stack:
        stack.enter_context(transaction.atomic(call.alias))
        record = call.begin()
        return stack.pop_all(), record


def _database_effect(call: _Call, func: Callable[..., T], args: Any, kwargs: Any) -> T:
    """The record commits with the effect: either both happened or neither."""
    if call.mode == "at_most_once":
        raise IdempotencyError(
            f"at_most_once needs commits of its own: call once({call.key!r}, …) outside of a "
            f"transaction and without atomic=True."
        )

    def effect() -> T:
        record = call.begin()
        if record is None:
            return cast(T, _recorded(call))
        value = func(*args, **kwargs)
        _complete(call, record, value)
        return value

    return in_transaction(effect, call.alias)


def _external_effect(call: _Call, func: Callable[..., T], args: Any, kwargs: Any) -> T:
    """The record says `in_progress` before the call: a crash in between is seen afterwards."""
    record = call.begin()
    if record is None:
        return cast(T, _recorded(call))
    try:
        value = func(*args, **kwargs)
    except Exception:
        # It raised, so it is known not to be done. An at_most_once effect may have happened all
        # the same, say on a timeout: nobody may repeat it.
        if call.mode == "at_most_once":
            log.give_up_on(record, call.alias)
        else:
            log.withdraw(record, call.alias)
        raise
    _complete(call, record, value)
    return value


def _complete(call: _Call, record: IdempotencyRecord, value: Any) -> None:
    try:
        response = checked(value, f"the value of the effect {call.key!r}", "once")
    except InvalidArguments:
        # It has happened and cannot be told: nobody may repeat it unseen.
        log.give_up_on(record, call.alias)
        raise
    log.complete(record, response, call.alias)


def _recorded(call: _Call) -> Any:
    record = call.find()
    return record.response if record is not None else None
