"""Idempotency: one effect per idempotency key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db.models.functions import Now

from django_bgtasks import EffectInProgress, FingerprintMismatch, once
from django_bgtasks.idempotency import once as once_module
from django_bgtasks.idempotency import records
from django_bgtasks.ledger.lifecycle import ledger_database
from django_bgtasks.models import IdempotencyRecord
from tests.app.models import Note
from tests.threads import in_threads

from . import delivery_tasks
from .case import SOON, Case
from .delivery_tasks import effect

pytestmark = pytest.mark.faults


@pytest.mark.parametrize("rounds", [5, pytest.param(100, marks=pytest.mark.long)])
def test_of_twenty_calls_with_one_idempotency_key_one_has_an_effect(
    case: Case, rounds: int
) -> None:
    case.row("Dedup", "20 concurrent calls with one idempotency key", times=rounds)
    for number in range(rounds):
        key, atomic = f"key-{number}", bool(number % 2)
        func: Callable[..., Any] = delivery_tasks.write if atomic else effect
        call = partial(once, key, func, key, atomic=atomic)
        values = in_threads(*[call] * 20)
        assert len(set(values)) == 1
        # Replayed, as often as anybody asks.
        assert once(key, func, key) == values[0]
        assert Note.objects.filter(text=key).count() + len(case.effects.of("effect", key)) == 1


@pytest.mark.long
def test_of_twenty_jobs_with_one_idempotency_key_one_has_an_effect(case: Case) -> None:
    case.row("Dedup", "20 jobs with one idempotency key, in 4 processes")
    jobs = [case.enqueue(delivery_tasks.shares_an_effect, "shared") for _ in range(20)]
    case.drain("--processes", 4)
    assert {case.job(job).result for job in jobs} == {"value of shared"}
    assert len(case.effects.of("effect")) == 1


def test_of_calls_with_one_key_and_other_arguments_those_of_one_kind_are_refused(
    case: Case,
) -> None:
    case.row("Dedup", "concurrent calls with one idempotency key and different arguments", times=10)
    for number in range(10):
        key = f"key-{number}"

        def call(text: str, key: str = key) -> str:
            try:
                value: str = once(key, effect, key, text)
            except FingerprintMismatch:
                return "refused"
            return value

        counts = Counter(in_threads(*[partial(call, "one"), partial(call, "two")] * 10))
        assert counts.pop("refused") == 10
        assert list(counts.values()) == [10]
        assert len(case.effects.of("effect", key)) == 1


@pytest.mark.long
def test_an_effect_whose_worker_died_is_taken_over_by_one_of_many(case: Case) -> None:
    case.row("Dedup", "SIGKILL of a worker in an effect whose idempotency key others want")
    dead = case.worker(env=SOON)
    first = case.enqueue(delivery_tasks.dies_in_an_effect, "shared")
    case.wait_until(lambda: case.effects.of("effect"))
    others = [case.enqueue(delivery_tasks.shares_an_effect, "shared") for _ in range(8)]
    case.kill(dead)
    case.worker("--processes", 4, env=SOON)
    with case.recovers(within=15.0):
        case.wait_final()
    assert case.job(first).state == "failed"
    assert {case.job(job).result for job in others} == {"value of shared"}
    assert len(case.effects.of("effect")) == 2, "that of the dead, and one more"


@pytest.mark.parametrize("left", ["expired", pytest.param("lease", marks=pytest.mark.long)])
def test_a_key_that_nobody_holds_any_more_is_taken_by_one_of_many(case: Case, left: str) -> None:
    case.row("Dedup", "20 concurrent calls for an idempotency key that is expired or ownerless", 10)
    for number in range(10):
        key = f"key-{number}"
        if left == "lease":
            with pytest.raises(KeyboardInterrupt):
                once(key, _interrupted, key)
            IdempotencyRecord.objects.update(created_at=Now() - timedelta(minutes=2))
        else:
            assert once(key, effect, key, "old", keep_for=timedelta(hours=1)) == f"old of {key}"
            IdempotencyRecord.objects.update(expires_at=Now() - timedelta(seconds=1))
        before = len(case.effects.of("effect", key))
        call: Callable[[], Any] = partial(once, key, effect, key)
        values = in_threads(*[call] * 20)
        assert set(values) == {f"value of {key}"}
        assert len(case.effects.of("effect", key)) == before + 1


def _interrupted(key: str) -> None:
    """As when the process is killed in the middle."""
    raise KeyboardInterrupt


def test_a_key_does_not_expire_under_an_effect_that_is_going_on(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    case.row("Dedup", "an idempotency key that expires while its effect is going on")
    monkeypatch.setattr(once_module, "WAIT_SECONDS", 0.1)
    case.worker()
    job = case.enqueue(delivery_tasks.dies_in_an_effect, "shared")
    case.wait_until(lambda: case.effects.of("effect"))
    IdempotencyRecord.objects.update(expires_at=Now() - timedelta(seconds=1))
    records.prune(ledger_database())
    with pytest.raises(EffectInProgress):
        once("shared:shared", effect, "shared")
    case.effects.open_gate()
    case.wait_final()
    assert case.job(job).result == "value of shared"
    assert len(case.effects.of("effect")) == 1
