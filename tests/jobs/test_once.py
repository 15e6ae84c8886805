"""once(): an effect that happens once per key."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from enum import Enum
from threading import Event, Lock
from typing import Any
from uuid import UUID

import pytest
from django.db import OperationalError, connection, transaction

from django_bgtasks import (
    EffectInProgress,
    EffectUnknown,
    FingerprintMismatch,
    IdempotencyError,
    InvalidArguments,
    once,
)
from django_bgtasks.core import clock
from django_bgtasks.idempotency import once as once_module
from django_bgtasks.idempotency import records as log
from django_bgtasks.idempotency.once import Mode
from django_bgtasks.models import EffectState, IdempotencyRecord
from tests.app.models import Note
from tests.threads import in_threads

pytestmark = pytest.mark.django_db
with_commits = pytest.mark.django_db(transaction=True)
LONG_AGO = timedelta(hours=1)


class Currency(Enum):
    EUR, USD = "EUR", "USD"


@dataclass
class Price:
    amount: Decimal


class Effect:
    """Counts how often it happened."""

    def __init__(self, value: Any = "done", error: Exception | None = None) -> None:
        self.value, self.error = value, error
        self.count, self._lock = 0, Lock()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with self._lock:
            self.count += 1
        if self.error is not None:
            raise self.error
        return self.value


def left_behind(key: str, **fields: Any) -> IdempotencyRecord:
    """What remains of an effect whose process was killed an hour ago."""
    killed = Effect(error=KeyboardInterrupt())  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        once(key, killed)
    IdempotencyRecord.objects.update(created_at=clock.now() - LONG_AGO, **fields)
    return IdempotencyRecord.objects.get()


@with_commits
@pytest.mark.parametrize("atomic", [False, True])
def test_the_second_call_gets_the_recorded_value(atomic: bool) -> None:
    effect = Effect({"id": [1]})
    values = [once("charge:7", effect, 10, currency="EUR", atomic=atomic) for _ in range(3)]
    assert values == [{"id": [1]}] * 3
    assert effect.count == 1


@with_commits
def test_keys_and_scopes_are_effects_of_their_own() -> None:
    effect = Effect()
    once("a", effect)
    once("b", effect)
    once("a", effect, scope="shop")
    assert effect.count == 3


@with_commits
def test_a_key_that_was_used_for_another_call_is_an_error() -> None:
    effect = Effect()
    once("charge:7", effect, 10)
    with pytest.raises(FingerprintMismatch, match="'charge:7' was used before"):
        once("charge:7", effect, 20)
    assert effect.count == 1


PAIRS: list[tuple[Any, Any]] = [
    (Decimal(20), Decimal(9999)),
    (date(2026, 1, 1), date(2026, 1, 2)),
    (UUID(int=1), UUID(int=2)),
    ({1, 2}, {1, 3}),
    (b"a", b"b"),
    (Currency.EUR, Currency.USD),
    (Price(Decimal(20)), Price(Decimal(99))),
    ({1: "a", "b": 2}, {1: "a", "b": 3}),
    (1, True),
    (1, "1"),
]


@with_commits
@pytest.mark.parametrize(("first", "other"), PAIRS, ids=lambda value: str(type(value)))
@pytest.mark.parametrize("atomic", [False, True])
def test_a_value_of_any_kind_counts_by_its_value(first: Any, other: Any, atomic: bool) -> None:
    effect = Effect("the receipt")
    for amount in (first, deepcopy(first)):
        assert once("charge", effect, amount, due=[amount], atomic=atomic) == "the receipt"
    for args, due in (([other], first), ([first], other)):
        with pytest.raises(FingerprintMismatch):
            once("charge", effect, *args, due=[due], atomic=atomic)
    assert effect.count == 1


@with_commits
def test_what_cannot_be_compared_is_refused_and_nothing_has_happened() -> None:
    effect = Effect()
    with pytest.raises(InvalidArguments, match=r"once: kwargs\['to'\]\[0\] is a builtins.object"):
        once("k", effect, to=[object()])
    assert effect.count == 0
    assert not IdempotencyRecord.objects.exists()


def loses_the_answer(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The first time, the write goes through and its answer does not."""
    write = getattr(log, name)
    lost: list[Any] = []

    def losing(*args: Any) -> Any:
        answer = write(*args)
        if not lost:
            lost.append(answer)
            connection.close()
            raise OperationalError("server closed the connection unexpectedly")
        return answer

    monkeypatch.setattr(log, name, losing)


@with_commits
@pytest.mark.parametrize("name", ["begin", "find", "complete"])
@pytest.mark.parametrize("mode", ["at_least_once", "at_most_once"])
def test_an_effect_whose_answer_from_the_database_was_lost_happens_once(
    monkeypatch: pytest.MonkeyPatch, name: str, mode: Mode
) -> None:
    loses_the_answer(monkeypatch, name)
    effect = Effect("the value")
    assert [once("k", effect, mode=mode) for _ in range(2)] == ["the value"] * 2
    assert effect.count == 1


@with_commits
def test_an_effect_that_was_taken_over_without_an_answer_happens_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    left_behind("k")
    loses_the_answer(monkeypatch, "take_over")
    effect = Effect("by another")
    assert [once("k", effect) for _ in range(2)] == ["by another"] * 2
    assert effect.count == 1


@with_commits
def test_an_effect_that_raises_without_a_database_may_be_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loses_the_answer(monkeypatch, "withdraw")
    with pytest.raises(ConnectionError):
        once("k", Effect(error=ConnectionError()))
    assert once("k", Effect("second")) == "second"


@with_commits
def test_an_effect_that_raises_may_be_tried_again() -> None:
    with pytest.raises(ConnectionError):
        once("k", Effect(error=ConnectionError()))
    assert once("k", Effect("second")) == "second"


@with_commits
def test_at_most_once_never_repeats_what_may_have_happened() -> None:
    effect = Effect(error=TimeoutError())
    with pytest.raises(TimeoutError):
        once("k", effect, mode="at_most_once")
    with pytest.raises(EffectUnknown, match="it may or may not have happened"):
        once("k", effect, mode="at_most_once")
    assert effect.count == 1
    assert IdempotencyRecord.objects.get().state == EffectState.UNKNOWN


@with_commits
def test_an_effect_whose_owner_is_gone_is_taken_over() -> None:
    left_behind("k")
    assert once("k", Effect("by another")) == "by another"


@with_commits
def test_an_effect_of_a_job_that_does_not_run_any_more_is_taken_over_at_once() -> None:
    record = left_behind("k", job=clock.new_id(), attempt=1)
    IdempotencyRecord.objects.update(created_at=clock.now())
    assert once("k", Effect("by another")) == "by another"
    record.refresh_from_db()
    assert (record.state, record.response) == ("done", "by another")


@with_commits
def test_at_most_once_asks_a_person_where_the_owner_is_gone() -> None:
    left_behind("k")
    effect = Effect()
    for _ in range(2):
        with pytest.raises(EffectUnknown, match="delete its record in the admin"):
            once("k", effect, mode="at_most_once")
    assert effect.count == 0


@with_commits
def test_an_effect_that_someone_performs_right_now_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(once_module, "WAIT_SECONDS", 0.1)
    left_behind("k")
    IdempotencyRecord.objects.update(created_at=clock.now())
    with pytest.raises(EffectInProgress) as refusal:
        once("k", Effect())
    assert refusal.value.delay > timedelta(0), "a task runs again a little later by itself"


@with_commits
def test_in_a_transaction_the_record_goes_with_the_effect() -> None:
    with transaction.atomic():
        once("k", lambda: Note.objects.create(text="gone").pk)
        transaction.set_rollback(True)
    assert not IdempotencyRecord.objects.exists()
    once("k", lambda: Note.objects.create(text="kept").pk)
    assert Note.objects.get().text == "kept"


@with_commits
def test_an_atomic_effect_that_raises_leaves_neither_effect_nor_record() -> None:
    def effect() -> None:
        Note.objects.create(text="gone")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        once("k", effect, atomic=True)
    assert not Note.objects.exists()
    assert not IdempotencyRecord.objects.exists()


def test_at_most_once_cannot_be_promised_inside_of_a_transaction() -> None:
    with pytest.raises(IdempotencyError, match="outside of a transaction"):
        once("k", Effect(), mode="at_most_once")


@with_commits
def test_a_block_is_told_whether_it_is_the_first() -> None:
    answers = []
    for _ in range(3):
        with once("k") as first:
            answers.append(first)
            if first:
                Note.objects.create(text="once")
    assert answers == [True, False, False]
    assert Note.objects.count() == 1


@with_commits
def test_a_block_that_raises_has_not_happened() -> None:
    def block() -> None:
        with once("k"):
            Note.objects.create(text="gone")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        block()
    with once("k") as first:
        assert first
    assert not Note.objects.exists()


@with_commits
@pytest.mark.parametrize("atomic", [False, True])
def test_twenty_calls_with_one_key_at_the_same_moment_are_one_effect(atomic: bool) -> None:
    effect = Effect("the value")

    def call() -> Any:
        return once("k", effect, atomic=atomic)

    assert in_threads(*[call] * 20) == ["the value"] * 20
    assert effect.count == 1


@with_commits
def test_twenty_blocks_with_one_key_at_the_same_moment_are_one_effect() -> None:
    def block() -> None:
        with once("k") as first:
            if first:
                Note.objects.create(text="once")

    in_threads(*[block] * 20)
    assert Note.objects.count() == 1


@with_commits
def test_a_sleeper_that_was_taken_over_does_not_overwrite_the_value() -> None:
    asleep, taken_over = Event(), Event()

    def slow() -> str:
        asleep.set()
        assert taken_over.wait(20)
        return "late"

    def sleeper() -> None:
        once("k", slow)

    def other() -> None:
        assert asleep.wait(20)
        IdempotencyRecord.objects.update(created_at=clock.now() - LONG_AGO)
        once("k", Effect("in time"))
        taken_over.set()

    in_threads(sleeper, other)
    assert IdempotencyRecord.objects.get().response == "in time"


@with_commits
def test_a_value_that_cannot_be_stored_is_refused_and_the_effect_is_not_repeated() -> None:
    effect = Effect(object())
    with pytest.raises(InvalidArguments, match="the value of the effect 'k'"):
        once("k", effect)
    with pytest.raises(EffectUnknown):
        once("k", effect)
    assert effect.count == 1


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_a_key_has_to_fit(key: str) -> None:
    with pytest.raises(ValueError, match="a key has 1 to 255 characters"):
        once(key, Effect())


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"key": "a\0"}, "once: a key contains a NUL character"),
        ({"key": "\ud800"}, "once: a key contains a lone surrogate"),
        ({"key": 7}, "once: a key is a string, not <class 'int'>"),
        ({"scope": "s" * 101}, "once: a scope has 0 to 100 characters, not 101"),
        ({"scope": "\0"}, "once: a scope contains a NUL character"),
        ({"keep_for": timedelta(days=4_000_000)}, "once: keep_for is 0 to 3153600000 seconds"),
        ({"keep_for": timedelta(seconds=-1)}, "once: keep_for is 0 to 3153600000 seconds"),
        ({"keep_for": float("nan")}, "once: keep_for is 0 to 3153600000 seconds"),
    ],
)
def test_what_no_database_keeps_is_refused_at_the_call(options: dict[str, Any], why: str) -> None:
    key = options.pop("key", "k")
    with pytest.raises(ValueError, match=why):
        once(key, Effect(), **options)
    with pytest.raises(ValueError, match=why):
        once(key, **options)


def test_a_mode_that_does_not_exist_is_refused() -> None:
    call: Any = once
    with pytest.raises(ValueError, match="mode is 'at_least_once' or 'at_most_once'"):
        call("k", Effect(), mode="exactly_once")
