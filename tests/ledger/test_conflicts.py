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

from django_bgtasks.core import clock
from django_bgtasks.core.progress import Progress
from django_bgtasks.core.settlement import Settlement
from django_bgtasks.ledger import idempotency, moves, outages, prune, workers
from django_bgtasks.ledger.claim import claim_many
from django_bgtasks.ledger.outages import retry_until_connected
from django_bgtasks.ledger.running import is_cancelled, report
from django_bgtasks.ledger.settle import settle, settle_many
from django_bgtasks.models import IdempotencyRecord, Job, Worker
from tests.app.models import Note
from tests.settings import STRICTER, at_level
from tests.threads import in_threads
from tests.waiting import wait_until

from .rows import DB, added, aged, claimed, in_state, settled

pytestmark = pytest.mark.django_db(transaction=True)
OURS = ("default",)
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
        "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'",
        "mysql": "SELECT count(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'",
    }[connection.vendor]
    with connections[DB].cursor() as cursor:
        cursor.execute(statement)
        return bool(cursor.fetchone()[0])


def behind(rival: Callable[[], object], ours: Callable[[], Any], then: Callable[[], object]) -> Any:
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
            return ours()
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
    found = idempotency.begin("", "k", "", idempotency.Owner(), timedelta(days=1), DB)
    assert found is not None
    return found


def a_worker() -> Worker:
    row = Worker(pk=clock.new_id(), hostname="a", pid=1, processes=1, backend="default")
    workers.register(row, DB)
    return row


VERBS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any], Any]] = {
    "claim": (added, lambda job: len(outages.retried(claim_many)([job.pk], job.pk, DB)), 1),
    "settle": (claimed, lambda job: settle(job, Settlement("succeed"), DB), None),
    "settle many": (
        claimed,
        lambda job: len(retry_until_connected(lambda: settle_many([(job, 1)], DB), DB)),
        1,
    ),
    "give back": (claimed, lambda job: moves.give_back([job], DB), 1),
    "progress": (claimed, lambda job: report(job, Progress(1, 2, ""), DB), True),
    "ask": (claimed, lambda job: is_cancelled(job, DB), False),
    "cancel": (added, lambda job: moves.cancel(job.pk, DB), "cancelled"),
    "stop": (claimed, lambda job: moves.cancel(job.pk, DB), "running"),
    "retry": (lambda: in_state("failed"), lambda job: moves.retry(job.pk, DB).state, "queued"),
    "run now": (
        lambda: in_state("scheduled"), lambda job: moves.run_now(job.pk, DB).state, "queued",
    ),
    "delete": (
        lambda: in_state("failed"),
        lambda job: len(prune.delete_jobs({job.pk: "failed"}, DB)),
        1,
    ),
    "prune": (
        lambda: aged(settled(Settlement("succeed")), timedelta(days=2)),
        lambda job: prune.prune_jobs({"succeeded": timedelta(days=1)}, OURS, DB),
        1,
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
        Worker.objects.update(children_lost=F("children_lost") + 1)
        IdempotencyRecord.objects.update(fingerprint="x")

    assert behind(rival, lambda: workers.beat(worker.pk, DB), lambda: None)
    assert behind(rival, lambda: workers.call_dead(-5.0, DB), lambda: None) == 1
    assert behind(rival, lambda: idempotency.complete(record, 7, DB), lambda: None)


@pytest.fixture
def tries(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """The errors after which something was tried again."""
    errors: list[BaseException] = []
    judge = outages._is_worth_another_try

    def judged(error: BaseException, alias: str) -> bool:
        verdict = judge(error, alias)
        if verdict:
            errors.append(error)
        return verdict

    monkeypatch.setattr(outages, "_is_worth_another_try", judged)
    return errors


# What takes many jobs, and where it begins.
DEADLY: dict[str, tuple[Callable[[], Any], Callable[[list[Job]], int], int]] = {
    "prune": (
        lambda: aged(settled(Settlement("succeed")), timedelta(days=2)),
        lambda jobs: prune.prune_jobs({"succeeded": timedelta(days=1)}, OURS, DB),
        0,
    ),
    "delete": (
        lambda: in_state("failed"),
        lambda jobs: len(prune.delete_jobs({job.pk: "failed" for job in jobs}, DB)),
        -1,
    ),
}


@pytest.mark.postgres
@pytest.mark.mysql
@pytest.mark.parametrize("what", DEADLY)
@pytest.mark.parametrize("level", LEVELS, indirect=True)
def test_a_deadlock_of_what_takes_many_jobs_is_tried_again(
    form: str, level: str, what: str, tries: list[BaseException]
) -> None:
    make, do, start = DEADLY[what]
    jobs = sorted((make() for _ in range(3)), key=lambda job: job.pk)

    def bump(job: Job) -> None:
        Job.objects.filter(pk=job.pk).update(max_attempts=F("max_attempts") + 1)

    def rival() -> None:
        # Who has written more is not the one that is given up.
        Note.objects.bulk_create([Note(text="x") for _ in range(50)])
        bump(jobs[-1 - start])

    assert behind(rival, lambda: do(jobs), lambda: bump(jobs[start])) == 3
    assert not Job.objects.exists()
    # Or the rival was given up.
    assert tries or not Note.objects.exists()
