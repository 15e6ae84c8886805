"""A call whose transaction sees the past, and errors of the database that no insert may hide."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import OperationalError, connection, connections, transaction

from django_bgtasks import DuplicateJob, EffectInProgress, once
from django_bgtasks.core import clock
from django_bgtasks.core.dedup import slot_of
from django_bgtasks.core.errors import InvalidMove
from django_bgtasks.idempotency import once as once_module
from django_bgtasks.idempotency import records as log
from django_bgtasks.jobs import enqueue
from django_bgtasks.jobs.actions import cancel_job, run_job_now
from django_bgtasks.models import IdempotencyRecord, Job
from django_bgtasks.testing import without_redis
from tests.app.models import Note
from tests.ledger.test_conflicts import behind
from tests.settings import STRICTER, at_level
from tests.threads import in_threads

from .tasks import welcome

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def apart() -> Iterator[None]:
    """No Redis is needed here."""
    with without_redis():
        yield


@pytest.fixture(params=STRICTER)
def level(request: pytest.FixtureRequest) -> Iterator[str]:
    """The isolation level of the connections that other threads open."""
    options = connections.settings["default"]["OPTIONS"]
    before = dict(options)
    options.update(at_level(request.param))
    yield request.param
    options.clear()
    options.update(before)


class NobodyThere:
    """A user whose row was deleted meanwhile."""

    pk = 10**6


def test_a_keyed_call_whose_owner_is_gone_is_a_job_of_nobody() -> None:
    assert not welcome.using(owner=NobodyThere()).enqueue(7).deduplicated
    again, other = welcome.using(owner=NobodyThere()).enqueue_many([(7,), (8,)])
    assert (again.deduplicated, other.deduplicated) == (True, False)
    assert [job.owner for job in Job.objects.all()] == [None, None]


def test_a_key_that_can_be_neither_taken_nor_found_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = []
    monkeypatch.setattr(enqueue, "insert", lambda *args: False)
    monkeypatch.setattr(enqueue, "holder_of", lambda *args: looks.append(1))
    with pytest.raises(DuplicateJob, match="no job was found that holds the dedup key '7'"):
        welcome.enqueue(7)
    assert len(looks) == enqueue.LOOKS


def test_an_effect_that_can_be_neither_begun_nor_found_is_in_progress(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(once_module, "WAIT_SECONDS", 0.05)
    monkeypatch.setattr(log, "begin", lambda *args: None)
    monkeypatch.setattr(log, "find", lambda *args: None)
    with pytest.raises(EffectInProgress):
        once("k", print)


def in_the_past(change: Callable[[], Any], call: Callable[[], Any]) -> Any:
    """What `ours` gives in a transaction that has read before somebody else made the change."""

    def late() -> Any:
        with transaction.atomic():
            list(Job.objects.all()), list(IdempotencyRecord.objects.all())
            in_threads(change)
            return call()

    [found] = in_threads(late)
    return found


def present_or_an_error(change: Callable[[], Any], call: Callable[[], Any], found: Any) -> None:
    """PostgreSQL ends a transaction that would have to see both, and it is its owner's."""
    options = connections.settings["default"]["OPTIONS"]
    if options.get("isolation_level") == "serializable":
        pytest.skip("there a transaction that reads stops who would write")
    if connection.vendor == "postgresql":
        with pytest.raises(OperationalError, match="could not serialize"):
            in_the_past(change, call)
    else:
        assert in_the_past(change, call) == found


@pytest.mark.postgres
@pytest.mark.mysql
@pytest.mark.usefixtures("level")
def test_a_transaction_that_sees_the_past_finds_the_job_that_holds_its_key() -> None:
    present_or_an_error(lambda: welcome.enqueue(7), lambda: welcome.enqueue(7).deduplicated, True)
    assert Job.objects.count() == 1


@pytest.mark.postgres
@pytest.mark.mysql
@pytest.mark.usefixtures("level")
def test_a_transaction_that_sees_the_past_finds_the_effect_that_has_happened() -> None:
    present_or_an_error(lambda: once("k", str, 1), lambda: once("k", str, 1), "1")


@pytest.mark.postgres
@pytest.mark.mysql
@pytest.mark.usefixtures("level")
@pytest.mark.parametrize("move", [cancel_job, run_job_now])
def test_a_transaction_that_sees_the_past_is_told_that_the_job_has_ended(
    move: Callable[[str], Any],
) -> None:
    job = welcome.using(run_after=clock.now() + timedelta(hours=1)).enqueue(7)

    def refused() -> bool:
        with suppress(InvalidMove):
            move(job.id)
            return False
        return True

    present_or_an_error(lambda: cancel_job(job.id), refused, True)


@pytest.mark.postgres
@pytest.mark.mysql
@pytest.mark.usefixtures("level")
def test_calls_that_would_wait_for_each_other_are_made_all_the_same() -> None:
    """One has two keys and another takes them in the other order: one of them is undone."""
    first, second = sorted((7, 8), key=lambda n: slot_of(welcome.module_path, str(n)))

    def rival() -> None:
        # Who has written more is not the one that is given up.
        Note.objects.bulk_create([Note(text="x") for _ in range(50)])
        welcome.enqueue(second)

    results = behind(
        rival, lambda: welcome.enqueue_many([(7,), (8,)]), lambda: welcome.enqueue(first)
    )
    assert {result.id for result in results} == {str(job.pk) for job in Job.objects.all()}
    assert len(results) == 2


@pytest.mark.postgres
@pytest.mark.mysql
@pytest.mark.usefixtures("level")
def test_effects_in_the_database_that_are_in_each_others_way_happen_once_each() -> None:
    note = Note.objects.create(text="")

    def append(text: str) -> str:
        row = Note.objects.get(pk=note.pk)
        Note.objects.filter(pk=note.pk).update(text=row.text + text)
        return text

    def effect(n: int) -> str:
        return once(f"k{n}", append, str(n), atomic=True)

    assert sorted(in_threads(*(partial(effect, n) for n in range(4)))) == ["0", "1", "2", "3"]
    assert IdempotencyRecord.objects.filter(state="done").count() == 4
    if connection.vendor == "postgresql":
        note.refresh_from_db()
        assert sorted(note.text) == ["0", "1", "2", "3"]


@pytest.mark.postgres
@pytest.mark.mysql
@pytest.mark.usefixtures("level")
def test_many_callers_of_one_key_are_one_job_while_jobs_end() -> None:
    def call() -> int:
        return sum(not welcome.enqueue(7).deduplicated for _ in range(8))

    def end() -> int:
        for job in Job.objects.filter(state="queued"):
            with suppress(InvalidMove):
                cancel_job(job.pk)
        return 0

    made = in_threads(*[call] * 4, *[lambda: sum(end() for _ in range(8))] * 2)
    assert sum(made) == Job.objects.count() >= 1
    assert Job.objects.filter(state="queued").count() <= 1
