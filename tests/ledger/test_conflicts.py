"""What another transaction was in the way of is tried again, at every isolation level."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from threading import Event
from typing import Any

import pytest
from django.db import DatabaseError, connection, connections, transaction
from django.db.models import F
from django.db.models.expressions import RawSQL

from django_bgtasks.core import clock
from django_bgtasks.core.outcomes import Outcome
from django_bgtasks.core.progress import progress_of
from django_bgtasks.core.states import Transition
from django_bgtasks.idempotency import records
from django_bgtasks.ledger import connection as ledger_connection
from django_bgtasks.ledger import prune, transitions, workers
from django_bgtasks.ledger.connection import retried, retry_until_connected
from django_bgtasks.ledger.lifecycle import (
    claim_many,
    is_cancelled,
    release,
    settle,
    settle_many,
    write_progress,
)
from django_bgtasks.models import IdempotencyRecord, Job, Worker
from tests.app.models import Note
from tests.settings import STRICTER, at_level
from tests.threads import in_threads
from tests.waiting import wait_until

from .rows import DB, added, claimed, in_state, keyed, settled

pytestmark = pytest.mark.django_db(transaction=True)
LEVELS = ["read committed", *STRICTER]


@pytest.fixture(params=STRICTER)
def level(request: pytest.FixtureRequest) -> Iterator[str]:
    """The isolation level of the connections that other threads open."""
    options = connections.settings[DB]["OPTIONS"]
    before = dict(options)
    options.update(at_level(request.param))
    yield request.param
    options.clear()
    options.update(before)


def somebody_waits() -> bool:
    """Whether a transaction waits for a lock."""
    statement = {
        "postgresql": "SELECT count(*) FROM pg_stat_activity "
        "WHERE wait_event_type = 'Lock' AND datname = current_database()",
        "mysql": "SELECT count(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'",
    }[connection.vendor]
    with connections[DB].cursor() as cursor:
        cursor.execute(statement)
        return bool(cursor.fetchone()[0])


def behind(rival: Callable[[], object], call: Callable[[], Any], then: Callable[[], object]) -> Any:
    """What `ours` gives, which waits for the locks of the rival, who does one more thing.

    Others look whether it waits: at its own level the rival would see the past.
    """
    locked, over = Event(), Event()

    def first() -> None:
        with suppress(DatabaseError), transaction.atomic():
            rival()
            locked.set()
            over.wait(20)
            then()

    def second() -> Any:
        assert locked.wait(20)
        try:
            return call()
        finally:
            over.set()

    def third() -> None:
        with suppress(AssertionError):
            # MariaDB brings its list up to date for who has not asked for 0.1 s.
            wait_until(lambda: over.is_set() or somebody_waits(), 5, pause=0.12)
        over.set()

    return in_threads(first, second, third)[1]


def bumped() -> None:
    """A change of each job that changes nothing which decides."""
    for job in Job.objects.order_by("-pk"):
        Job.objects.filter(pk=job.pk).update(max_attempts=F("max_attempts") + 1)


def a_record() -> IdempotencyRecord:
    found = records.begin("", "k", "", records.Owner(), timedelta(days=1), DB)
    assert found is not None
    return found


def a_worker() -> Worker:
    row = Worker(pk=clock.new_id(), hostname="a", pid=1, processes=1, backend="default")
    workers.register(row, DB)
    return row


VERBS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any], Any]] = {
    "claim": (added, lambda job: len(retried(claim_many)([job.pk], job.pk, DB)), 1),
    "settle": (claimed, lambda job: settle(job, Outcome(Transition.SUCCEED), DB), None),
    "settle many": (
        claimed,
        lambda job: len(retry_until_connected(lambda: settle_many([(job, 1)], DB), DB)),
        1,
    ),
    "release": (claimed, lambda job: release([job], DB), 1),
    "progress": (claimed, lambda job: write_progress(job, progress_of(1, 2, ""), DB), True),
    "ask": (claimed, lambda job: is_cancelled(job, DB), False),
    "cancel": (added, lambda job: transitions.cancel(job.pk, DB).state, "cancelled"),
    "stop": (claimed, lambda job: transitions.cancel(job.pk, DB).state, "running"),
    "retry": (
        lambda: in_state("failed"), lambda job: transitions.retry(job.pk, DB).state, "queued",
    ),
    "run now": (
        lambda: in_state("scheduled"), lambda job: transitions.run_now(job.pk, DB).state, "queued",
    ),
}  # fmt: skip


@pytest.mark.postgres
@pytest.mark.mysql
@pytest.mark.parametrize("verb", VERBS)
def test_what_comes_behind_another_change_of_the_job_goes_through(
    form: str, level: str, verb: str, caplog: pytest.LogCaptureFixture
) -> None:
    prepare, do, expected = VERBS[verb]
    job = prepare()
    with caplog.at_level(logging.WARNING, "django_bgtasks"):
        assert behind(bumped, lambda: do(job), lambda: None) == expected
    assert not caplog.records


@pytest.mark.postgres
@pytest.mark.mysql
def test_a_worker_and_a_record_that_others_change_go_through(form: str, level: str) -> None:
    worker, record = a_worker(), a_record()

    def rival() -> None:
        Worker.objects.update(processes_lost=F("processes_lost") + 1)
        IdempotencyRecord.objects.update(fingerprint="x")

    assert behind(rival, lambda: workers.beat(worker.pk, DB), lambda: None)
    Worker.objects.update(last_seen_at=clock.now() - timedelta(minutes=1))
    assert behind(rival, lambda: workers.call_dead(60.0, DB), lambda: None) == 1
    assert behind(rival, lambda: records.complete(record, 7, DB), lambda: None)


@pytest.fixture
def tries(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """The errors after which something was tried again."""
    errors: list[BaseException] = []
    judge = ledger_connection._is_worth_another_try

    def judged(error: BaseException, alias: str) -> bool:
        verdict = judge(error, alias)
        if verdict:
            errors.append(error)
        return verdict

    monkeypatch.setattr(ledger_connection, "_is_worth_another_try", judged)
    return errors


WORKER = clock.new_id()


def a_job_whose_window_is_over() -> Job:
    job = settled(Outcome(Transition.SUCCEED), keyed(str(clock.new_id()), scope="window"))
    Job.objects.update(dedup_until=clock.now() - timedelta(seconds=1))
    return job


# What takes many jobs, one after another. Prune and delete leave out what others have locked.
DEADLY: dict[str, tuple[Callable[[], Any], Callable[[list[Job]], int]]] = {
    "settle": (
        lambda: claimed(worker=WORKER),
        lambda jobs: len(
            retry_until_connected(lambda: settle_many([(job, 1) for job in jobs], DB), DB)
        ),
    ),
    "release windows": (
        a_job_whose_window_is_over,
        lambda jobs: prune.release_windows(DB),
    ),
}


def never_first(jobs: list[Job]) -> Job:
    """One that no statement which takes all of them locks first: by the index, or as rows lie."""
    first = {min(job.pk for job in jobs)}
    if connection.vendor == "postgresql":
        first.add(Job.objects.order_by(RawSQL("ctid", [])).values_list("pk", flat=True)[0])
    return next(job for job in jobs if job.pk not in first)


@pytest.mark.long(after=6)
@pytest.mark.postgres
@pytest.mark.mysql
@pytest.mark.parametrize("what", DEADLY)
@pytest.mark.parametrize("level", LEVELS, indirect=True)
def test_a_deadlock_of_what_takes_many_jobs_is_tried_again(
    form: str, level: str, what: str, tries: list[BaseException]
) -> None:
    make, do = DEADLY[what]
    jobs = [make() for _ in range(3)]
    job = never_first(jobs)

    def bump(*those: Job) -> None:
        for one in those:
            Job.objects.filter(pk=one.pk).update(max_attempts=F("max_attempts") + 1)

    def rival() -> None:
        # Who has written more is not the one that is given up, or, on PostgreSQL, who looks later.
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL deadlock_timeout = '30s'")
        Note.objects.bulk_create([Note(text="x") for _ in range(50)])
        bump(job)

    others = [other for other in jobs if other is not job]
    assert behind(rival, lambda: do(jobs), lambda: bump(*others)) == 3
    # MariaDB gives up whom it likes, and may find the rows in another order.
    assert tries or connection.vendor == "mysql"
