"""The database: connections that end at each point, and conflicts that it resolves."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection, transaction

from django_bgtasks.models import Job, Worker
from tests.app.models import Note
from tests.waiting import wait_until

from . import database_tasks as tasks
from .case import Case
from .databases import (
    end_backends,
    in_thread,
    postgres_behind_a_proxy,
    row_locked,
    waits_for_lock,
    with_options,
    with_server_settings,
)
from .strikes import Strike

pytestmark = [pytest.mark.faults, pytest.mark.postgres]

BACK = 15.0
POINTS = ("before claim", "after claim", "in body", "before settle", "after move", "after settle")
TASKS: dict[str, Any] = {"plain": tasks.plain, "atomic": tasks.atomic}
SHORT = {("after claim", "atomic"), ("in body", "atomic"), ("after move", "plain")}


def ends() -> list[Any]:
    """Each point for each kind of task; the default run has those that matter most."""
    return [
        pytest.param(
            point,
            name,
            id=f"{point} {name}".replace(" ", "-"),
            marks=[] if (point, name) in SHORT else [pytest.mark.long],
        )
        for point in POINTS
        for name in TASKS
    ]


@pytest.mark.parametrize(("point", "name"), ends())
def test_connections_that_end_at_any_point_fail_no_job_and_repeat_no_plain_one(
    case: Case, point: str, name: str
) -> None:
    case.row(
        "Database", f"pg_terminate_backend of all connections of a worker, at {len(POINTS)} points"
    )
    case.worker(strike=Strike(point, "nobody", hold=True))
    job = case.enqueue(TASKS[name])
    case.struck_at()
    with case.recovers(within=BACK):
        assert end_backends()
        case.effects.open_gate()
        case.wait_final()
    assert case.job(job).state == "succeeded"
    undone = name == "atomic" and point != "before claim"
    assert case.effects.times("begin")[job.id] == (2 if undone else 1)
    assert case.outcomes(job) == (["failed"] if undone else [])


@pytest.mark.long
@pytest.mark.parametrize("point", ["after claim", "before announce"])
def test_connections_that_end_where_earlier_attempts_are_read_kill_no_process(
    case: Case, point: str
) -> None:
    case.row("Database", "pg_terminate_backend before a later attempt, and after its settlement")
    job = case.enqueue(tasks.plain)
    Job.objects.filter(pk=job.id).update(attempt=1)
    worker = case.worker(strike=Strike(point, "nobody", hold=True))
    case.struck_at()
    with case.recovers(within=BACK):
        end_backends()
        case.effects.open_gate()
        worker.wait_for("outcome=succeeded")
    assert (case.job(job).state, case.job(job).attempt) == ("succeeded", 2)
    assert not Worker.objects.exclude(processes_lost=0).exists()
    assert case.effects.times("begin")[job.id] == 1


@pytest.mark.long
def test_a_connection_that_ends_in_the_claim_costs_no_attempt(case: Case) -> None:
    case.row("Database", "pg_terminate_backend while the claim waits for its row")
    case.worker(strike=Strike("before claim", "nobody", hold=True))
    job = case.enqueue(tasks.plain)
    case.struck_at()
    with case.recovers(within=BACK):
        with row_locked(job):
            case.effects.open_gate()
            case.wait_until(waits_for_lock)
            end_backends()
        case.wait_final()
    assert (case.job(job).state, case.job(job).attempt) == ("succeeded", 1)
    assert case.effects.times("begin")[job.id] == 1


# A connection is told these once, with SET, for maintenance asks for such rows too.
CLAIM, SUCCESS = b"SET state = 'running'", b"SET state = 'succeeded'"
# What it executes then has only the statement's name, behind that of a portal, which is empty.
PREPARED = b"\0bgtasks_"


@pytest.mark.parametrize(
    ("name", "text", "after"),
    [
        pytest.param("plain", PREPARED, CLAIM, id="at-the-claim", marks=pytest.mark.long),
        pytest.param("plain", PREPARED, SUCCESS, id="at-the-settlement"),
        pytest.param("atomic", b"COMMIT", SUCCESS, id="at-the-commit-of-an-atomic-task"),
        pytest.param(
            "fails",
            b"COMMIT",
            b'INSERT INTO "django_bgtasks_attempt"',
            id="at-the-record-of-a-failure",
            marks=pytest.mark.long,
        ),
    ],
)
def test_a_commit_whose_reply_is_lost_is_found_and_nothing_runs_twice(
    case: Case, name: str, text: bytes, after: bytes
) -> None:
    case.row("Database", "a COMMIT that goes through and whose reply is lost, at 4 places")
    with postgres_behind_a_proxy() as (proxy, env):
        worker = case.worker(env=env)
        worker.wait_for("bgworker")
        proxy.swallow_reply_to(text, after=after)
        job = case.enqueue(tasks.fails if name == "fails" else TASKS[name])
        case.wait_until(lambda: proxy.swallowed)
        with case.recovers(within=BACK):
            case.wait_final()
        assert proxy.swallowed == 1
        assert case.job(job).attempt == 1
        assert case.effects.times("begin")[job.id] == 1
        case.stop(worker)
    assert case.job(job).state == ("failed" if name == "fails" else "succeeded")
    assert case.outcomes(job) == (["failed"] if name == "fails" else [])
    assert f"job={job.id}" in worker.output


@pytest.mark.long
def test_a_commit_that_is_still_under_way_when_it_is_looked_for_is_waited_for(case: Case) -> None:
    case.row("Database", "a COMMIT that reaches PostgreSQL 2 s after its connection broke")
    with postgres_behind_a_proxy() as (proxy, env):
        worker = case.worker(env=env)
        worker.wait_for("bgworker")
        proxy.swallow_reply_to(b"COMMIT", after=SUCCESS, late=2.0)
        job = case.enqueue(tasks.atomic)
        with case.recovers(within=BACK):
            worker.wait_for(f"job={job.id}")
        case.stop(worker)
    assert (case.job(job).state, case.outcomes(job)) == ("succeeded", [])
    assert case.effects.times("begin")[job.id] == 1
    assert "outcome=succeeded" in worker.output


def test_jobs_that_deadlock_both_succeed(case: Case) -> None:
    case.row("Database", "two atomic tasks change two rows in opposite order: a deadlock")
    for text in ("a", "b"):
        Note.objects.create(text=text)
    case.worker("--processes", 2)
    jobs = [case.enqueue(tasks.crossing, *way) for way in (("a", "b"), ("b", "a"))]
    case.wait_until(lambda: len(case.effects.of("first")) == 2)
    with case.recovers(within=BACK):
        case.wait_final()
    assert [case.job(job).state for job in jobs] == ["succeeded", "succeeded"]
    assert sorted(map(case.outcomes, jobs)) == [[], ["failed"]]
    [failed] = [job for job in jobs if case.outcomes(job)]
    assert "deadlock detected" in case.job(failed).attempts.get().message


@pytest.mark.long
def test_a_settlement_that_is_the_victim_of_a_deadlock_runs_its_job_again(case: Case) -> None:
    case.row("Database", "the settlement of an atomic task is the victim of a deadlock")
    Note.objects.create(text="a")
    case.worker(strike=Strike("in body", "nobody", hold=True))
    job = case.enqueue(tasks.touching, "a")
    case.struck_at()
    with case.recovers(within=BACK):
        with transaction.atomic():
            Job.objects.select_for_update().get(pk=job.id)
            # The last to wait looks for a cycle a second later, and is the victim.
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL deadlock_timeout = '20s'")
            with in_thread(lambda: wait_and_open(case)):
                Note.objects.filter(text="a").update(text="a")
        case.wait_final()
    assert case.job(job).state == "succeeded"
    assert case.outcomes(job) == ["failed"]


def wait_and_open(case: Case) -> None:
    try:
        wait_until(waits_for_lock, 10)
        case.effects.open_gate()
    finally:
        connection.close()


@pytest.mark.parametrize(
    "level",
    [3, pytest.param(4, marks=pytest.mark.long)],
    ids=["repeatable-read", "serializable"],
)
def test_a_serialization_failure_is_no_failure_of_the_job(case: Case, level: int) -> None:
    case.row("Database", "a serialization failure in an atomic task")
    shared = Note.objects.create(text="count 0")
    env = with_options(isolation_level=level)
    case.worker(strike=Strike("in body", "nobody", hold=True), env=env)
    job = case.enqueue(tasks.counting, "count ")
    case.struck_at()
    Note.objects.filter(pk=shared.pk).update(text="count 5")
    with case.recovers(within=BACK):
        case.effects.open_gate()
        case.wait_final()
    assert case.job(job).state == "succeeded"
    assert case.outcomes(job) == ["failed"]
    shared.refresh_from_db()
    assert shared.text == "count 6"


@pytest.mark.long
def test_serializable_jobs_that_conflict_again_and_again_all_succeed(case: Case) -> None:
    case.row("Database", "20 atomic tasks count in one row, serializable, in 4 processes")
    shared = Note.objects.create(text="count 0")
    case.worker("--processes", 4, env=with_options(isolation_level=4))
    jobs = case.enqueue_many(tasks.counting, [("count ",)] * 20)
    case.wait_final()
    assert {case.job(job).state for job in jobs} == {"succeeded"}
    shared.refresh_from_db()
    assert shared.text == "count 20"


@pytest.mark.parametrize(
    ("point", "name"),
    [
        pytest.param("before claim", "plain", marks=pytest.mark.long),
        pytest.param("before move", "plain", marks=pytest.mark.long),
        ("before move", "atomic"),
    ],
)
def test_a_lock_that_is_not_free_in_time_loses_no_job(case: Case, point: str, name: str) -> None:
    case.row("Database", "the job's row is locked for longer than lock_timeout")
    env = with_server_settings(lock_timeout="200ms")
    worker = case.worker(strike=Strike(point, "nobody", hold=True), env=env)
    job = case.enqueue(TASKS[name])
    case.struck_at()
    with row_locked(job):
        case.effects.open_gate()
        worker.wait_for("lock timeout")
    with case.recovers(within=BACK):
        case.wait_final()
    assert case.job(job).state == "succeeded"
    undone = (name, point) == ("atomic", "before move")
    assert case.outcomes(job) == (["failed"] if undone else [])


def test_a_transaction_that_idles_too_long_runs_again(case: Case) -> None:
    case.row("Database", "idle_in_transaction_session_timeout in the body of an atomic task")
    case.worker(env=with_server_settings(idle_in_transaction_session_timeout="300ms"))
    job = case.enqueue(tasks.atomic, 1.0)
    own = case.enqueue(tasks.idle_in_transaction, 1.0)
    with case.recovers(within=BACK):
        case.wait_final()
    assert (case.job(job).state, case.outcomes(job)) == ("succeeded", ["failed"])
    # A transaction of its own may have been one of several: only a policy may repeat those.
    assert (case.job(own).state, case.outcomes(own)) == ("failed", ["failed"])


@pytest.mark.long
def test_a_task_that_costs_its_connection_each_time_ends_as_failed(case: Case) -> None:
    case.row("Database", "an atomic task that ends its own connection in each attempt")
    case.worker()
    job = case.enqueue(tasks.ends_its_own_backend)
    with case.recovers(within=BACK):
        case.wait_final()
    assert case.job(job).state == "failed"
    assert case.outcomes(job) == ["failed"] * 3


@pytest.mark.long
def test_what_must_not_begin_twice_does_not_though_its_transaction_is_undone(case: Case) -> None:
    case.row("Database", 'pg_terminate_backend in the body of an atomic task with on_crash="fail"')
    case.worker(strike=Strike("in body", "nobody", hold=True))
    job = case.enqueue(tasks.careful)
    case.struck_at()
    with case.recovers(within=BACK):
        end_backends()
        case.effects.open_gate()
        case.wait_final()
    assert (case.job(job).state, case.outcomes(job)) == ("failed", ["failed"])
    assert case.effects.times("begin")[job.id] == 1
