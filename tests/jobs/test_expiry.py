"""A job that has not begun in time is cancelled, and told of once; one that has begun goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db import connection, transaction
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from django_bgtasks import (
    DuplicateJob,
    InvalidArguments,
    Middleware,
    Outcome,
    RetryLater,
    cancel_job,
    retry_job,
    run_job_now,
    task,
)
from django_bgtasks.core import clock
from django_bgtasks.core.compat import InvalidTask
from django_bgtasks.core.compat import api_signals as signals
from django_bgtasks.core.retry import Retry
from django_bgtasks.jobs.actions import pause_queue
from django_bgtasks.jobs.execute import run_claimed
from django_bgtasks.jobs.expiry import expire_jobs
from django_bgtasks.ledger.lifecycle import claim, claim_many, claim_next, release
from django_bgtasks.ledger.transitions import next_due
from django_bgtasks.models import Attempt, Job
from django_bgtasks.testing import run_jobs, without_redis
from django_bgtasks.worker.maintenance import promote
from tests.statements import statements
from tests.threads import in_threads

pytestmark = pytest.mark.django_db
DB = "default"
WORKER = clock.new_id()
SECOND = timedelta(seconds=1)


@pytest.fixture(autouse=True)
def no_redis() -> Iterator[None]:
    with without_redis():
        yield


@task(expires=300)
def soon() -> str:
    return "in time"


@task(expires=timedelta(minutes=5), dedup_key="{name}")
def keyed(name: str, text: str = "") -> str:
    return text


@task(expires=300, dedup_key="{name}", dedup_scope=timedelta(hours=1))
def windowed(name: str) -> None:
    """Holds its key for an hour."""


@task(expires=300, retry=Retry(max_attempts=3, delays=[0]), takes_context=True)
def third_time(context: Any) -> int:
    if context.attempt < 3:
        raise ConnectionError
    return int(context.attempt)


@task(expires=300)
def waits_for_a_file() -> None:
    raise RetryLater(60)


class Seen(Middleware):
    """Keeps what it is told."""

    outcomes: list[tuple[Any, ...]] = []  # noqa: RUF012 - made anew in each test

    def on_outcome(self, context: Any, outcome: Outcome) -> None:
        code = outcome.failure.code if outcome.failure else None
        self.outcomes.append((context.job_id, context.job.state, outcome.state, code))


@pytest.fixture
def seen(no_middleware: None) -> Iterator[list[tuple[Any, ...]]]:
    """What a middleware is told of outcomes."""
    Seen.outcomes = []
    tasks = deepcopy(settings.TASKS)
    tasks["default"].setdefault("OPTIONS", {})["middleware"] = [f"{__name__}.Seen"]
    with override_settings(TASKS=tasks):
        yield Seen.outcomes


def late(job: Job) -> Job:
    """The same job when its time is over."""
    Job.objects.filter(pk=job.pk).update(expires_at=clock.now() - SECOND)
    return job


def now(job: Job) -> Job:
    return Job.objects.get(pk=job.pk)


def state_of(job: Job) -> tuple[str, str]:
    row = now(job)
    return row.state, row.error_code


EXPIRED = ("cancelled", "expired")


def test_a_length_of_time_counts_from_the_enqueue_by_the_databases_clock() -> None:
    job = soon.enqueue().job
    row = now(job)
    assert row.expires_at is not None
    assert timedelta(seconds=299) < row.expires_at - row.enqueued_at < timedelta(seconds=301)
    assert isinstance(job.expires_at, datetime)
    assert abs(job.expires_at - row.expires_at) < timedelta(seconds=60)


def test_a_time_is_stored_as_it_is_and_none_takes_the_expiry_away() -> None:
    then = datetime(2090, 1, 1, tzinfo=UTC)
    assert now(soon.using(expires=then).enqueue().job).expires_at == then
    assert now(soon.using(expires=None).enqueue().job).expires_at is None


def test_many_calls_expire_alike() -> None:
    results = soon.enqueue_many([(), (), ()])
    times = list(Job.objects.values_list("expires_at", flat=True))
    assert len(times) == 3
    assert None not in times
    assert isinstance(results[0].job.expires_at, datetime)


def test_a_job_in_time_runs() -> None:
    soon.enqueue()
    assert [job.result for job in run_jobs()] == ["in time"]


@pytest.mark.parametrize(
    "take",
    [
        lambda job: claim(job.pk, WORKER, DB),
        lambda job: claim_next(["default"], WORKER, DB),
        lambda job: claim_many([job.pk], WORKER, DB, ["default"], "default"),
    ],
    ids=["by message", "without Redis", "in a group"],
)
def test_no_claim_begins_an_expired_job(take: Callable[[Job], Any]) -> None:
    job = late(soon.enqueue().job)
    assert not take(job)
    assert state_of(job) == ("queued", "")


def test_an_expired_job_is_in_nobodys_way() -> None:
    expired, other = late(soon.using(priority=50).enqueue().job), soon.enqueue().job
    found = claim_next(["default"], WORKER, DB)
    assert found is not None
    assert found.pk == other.pk
    both = [late(soon.enqueue().job).pk, soon.enqueue().job.pk]
    assert [job.pk for job in claim_many([expired.pk, *both], WORKER, DB)] == both[1:]


@pytest.mark.parametrize("state", ["queued", "scheduled", "blocked"])
def test_what_nobody_claims_in_time_is_cancelled_with_a_code_and_told_once(
    state: str, seen: list[Any]
) -> None:
    job = late(soon.enqueue().job)
    waits_for = "lane" if state == "blocked" else ""
    Job.objects.filter(pk=job.pk).update(state=state, waits_for=waits_for)
    told: list[Any] = []

    def hear(task_result: Any, **kwargs: Any) -> None:
        told.append((task_result.id, task_result.status, task_result.job.error_code))

    signals.task_finished.connect(hear)
    try:
        assert [expire_jobs(10, DB), expire_jobs(10, DB)] == [1, 0]
    finally:
        signals.task_finished.disconnect(hear)
    row = now(job)
    assert (row.state, row.error_code, row.attempt) == ("cancelled", "expired", 0)
    assert row.error == "cancelled: It expired: it had not begun in time."
    assert row.finished_at is not None
    assert told == [(str(job.pk), "FAILED", "expired")]
    assert seen == [(job.pk, "cancelled", "cancelled", "expired")]
    assert not Attempt.objects.filter(job=job.pk).exists()


def test_a_paused_queue_does_not_keep_its_jobs() -> None:
    pause_queue("default")
    job = late(soon.enqueue().job)
    promote.run_when_due(DB)
    assert state_of(job) == EXPIRED


def test_maintenance_waits_for_the_next_expiry_by_one_timer() -> None:
    assert next_due(DB) == (None, None)
    soon.using(expires=0.4).enqueue()
    due, expires = next_due(DB)
    assert due is None
    assert expires is not None
    assert expires <= 0.4
    assert promote.run_when_due(DB) <= 0.4
    with CaptureQueriesContext(connection) as queries:
        promote.run_when_due(DB)
    assert len(queries) == 1


def test_one_that_is_due_and_expired_is_not_queued_before_its_end() -> None:
    soon.using(run_after=clock.now() + timedelta(seconds=100)).enqueue()
    Job.objects.update(run_after=clock.now() - SECOND, expires_at=clock.now() - SECOND)
    promote.run_when_due(DB)
    assert state_of(Job.objects.get()) == EXPIRED


def test_run_jobs_cancels_what_has_expired_and_runs_the_rest() -> None:
    expired, other = late(soon.enqueue().job), soon.enqueue().job
    assert [job.pk for job in run_jobs()] == [other.pk]
    assert state_of(expired) == EXPIRED


def test_once_begun_retries_go_on_whatever_the_time(make_due: Callable[[], None]) -> None:
    job = third_time.enqueue().job
    claimed = claim(job.pk, WORKER, DB)
    assert claimed is not None
    run_claimed(claimed, DB)
    late(job)
    assert expire_jobs(10, DB) == 0
    make_due()
    run_jobs()
    assert (now(job).state, now(job).result) == ("succeeded", 3)


def test_a_job_that_begins_and_asks_for_later_does_not_expire(make_due: Callable[[], None]) -> None:
    job = waits_for_a_file.enqueue().job
    run_jobs()
    assert (now(job).state, now(job).attempt, now(job).expires_at) == ("scheduled", 0, None)


def test_a_job_that_was_claimed_and_handed_back_unbegun_expires() -> None:
    job = soon.enqueue().job
    claimed = claim(job.pk, WORKER, DB)
    assert claimed is not None
    assert release([claimed], DB) == 1
    late(job)
    assert claim(job.pk, WORKER, DB) is None
    assert expire_jobs(10, DB) == 1


def test_a_manual_retry_clears_the_expiry() -> None:
    job = late(soon.enqueue().job)
    expire_jobs(10, DB)
    retry_job(job.pk)
    assert (now(job).expires_at, now(job).state) == (None, "queued")
    assert [ran.result for ran in run_jobs()] == ["in time"]


def test_a_duplicate_of_an_expired_job_is_a_new_job() -> None:
    for definition in (keyed, windowed):
        first = late(definition.enqueue("a").job)
        second = definition.enqueue("a")
        assert not second.deduplicated
        assert second.job.pk != first.pk
        assert definition.enqueue("a").job.pk == second.job.pk
        expire_jobs(10, DB)
        assert state_of(first) == EXPIRED
        assert now(second.job).state == "queued"
        assert definition.enqueue("a").deduplicated


@pytest.mark.parametrize("answer", ["raise", "replace"])
def test_an_expired_job_is_neither_refused_for_nor_replaced(answer: Any) -> None:
    first = late(keyed.enqueue("a", "old").job)
    second = keyed.using(on_duplicate=answer).enqueue("a", "new")
    assert not second.deduplicated
    assert now(first).args == ["a", "old"]
    with pytest.raises(DuplicateJob):
        keyed.using(on_duplicate="raise").enqueue("a")


def test_many_keyed_calls_pass_an_expired_holder() -> None:
    first = late(keyed.enqueue("a").job)
    results = keyed.enqueue_many([("a",), ("b",)])
    assert [result.deduplicated for result in results] == [False, False]
    assert results[0].job.pk != first.pk


def test_replace_gives_the_waiting_job_the_new_expiry() -> None:
    first = keyed.using(expires=60).enqueue("a").job
    keyed.using(expires=3600, on_duplicate="replace").enqueue("a", "new")
    row = now(first)
    assert row.expires_at is not None
    assert row.expires_at - row.enqueued_at > timedelta(minutes=50)


def test_what_frees_a_key_and_is_rolled_back_leaves_it() -> None:
    first = late(keyed.enqueue("a").job)
    with transaction.atomic():
        assert not keyed.enqueue("a").deduplicated
        transaction.set_rollback(True)
    assert now(first).dedup_slot is not None


def test_the_window_of_an_expired_job_is_over() -> None:
    late(windowed.enqueue("a").job)
    expire_jobs(10, DB)
    assert not windowed.enqueue("a").deduplicated


def test_a_run_after_that_is_no_earlier_than_the_expiry_is_refused() -> None:
    later = clock.now() + timedelta(minutes=10)
    for definition in (soon, soon.using(expires=later)):
        with pytest.raises(InvalidArguments, match=r"could never run.*expires=.*or None"):
            definition.using(run_after=later).enqueue()
        with pytest.raises(InvalidArguments, match="could never run"):
            definition.using(run_after=later).enqueue_many([()])
    assert not Job.objects.exists()
    soon.using(run_after=later, expires=timedelta(minutes=11)).enqueue()
    soon.using(run_after=later, expires=None).enqueue()


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (0, "above 0"),
        (-5, "0 to 3153600000"),
        (float("nan"), "0 to 3153600000"),
        ("tomorrow", "a timedelta or a number"),
        (datetime(2026, 1, 1), "aware datetime"),  # noqa: DTZ001
        (datetime(9999, 12, 31, tzinfo=UTC), "between the years"),
        (timedelta(days=40_000), "36500 days"),
    ],
)
def test_an_expiry_that_cannot_be_is_refused(wrong: Any, text: str) -> None:
    with pytest.raises(InvalidTask, match=text):
        soon.using(expires=wrong)


def test_a_definition_has_no_time_of_the_calendar() -> None:
    with pytest.raises(TypeError, match=r"Use \.using\(expires"):
        task(expires=datetime(2090, 1, 1, tzinfo=UTC))(soon.func)


def test_without_time_zones_a_naive_time_is_one_of_the_sites() -> None:
    with override_settings(USE_TZ=False, TIME_ZONE="Asia/Tokyo"):
        job = soon.using(expires=datetime(2090, 1, 1, 9)).enqueue().job  # noqa: DTZ001
    assert now(job).expires_at == datetime(2090, 1, 1, tzinfo=UTC)


def test_run_now_begins_a_scheduled_job_in_time() -> None:
    job = soon.using(run_after=clock.now() + timedelta(seconds=100)).enqueue().job
    run_job_now(job.pk)
    assert [ran.result for ran in run_jobs()] == ["in time"]


def test_a_cancelled_job_does_not_expire_too() -> None:
    job = late(soon.enqueue().job)
    cancel_job(job.pk)
    assert expire_jobs(10, DB) == 0
    assert state_of(job) == ("cancelled", "")


def test_many_calls_expire_by_the_clock_of_the_database_beyond_the_first_thousand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clock, "now_as_stored", lambda: clock.now() + timedelta(hours=1))
    results = soon.enqueue_many([()] * 1001)
    last = now(results[-1].job)
    assert last.expires_at is not None
    assert abs(last.expires_at - last.enqueued_at - 300 * SECOND) < SECOND
    # The caller has an estimate, as of the time of the enqueue.
    estimate = results[-1].job.expires_at
    assert estimate is not None
    assert estimate - clock.now() > timedelta(hours=1)


def test_a_job_without_an_expiry_costs_no_statement_more() -> None:
    with CaptureQueriesContext(connection) as queries:
        keyed.using(expires=None).enqueue("a")
        keyed.using(expires=None).enqueue("a")
    assert len(queries) == 3
    assert statements(queries)[::2] == ["insert", "select"]


@pytest.mark.django_db(transaction=True)
def test_of_a_sweep_and_a_duplicate_at_once_each_does_its_part() -> None:
    jobs = [late(keyed.enqueue(str(number)).job) for number in range(20)]

    def sweep() -> int:
        return sum(expire_jobs(3, DB) for _ in range(20))

    def call() -> int:
        with without_redis():
            return sum(keyed.enqueue(str(number)).deduplicated for number in range(20))

    swept, deduplicated, more = in_threads(sweep, call, sweep)
    assert (swept + more + expire_jobs(100, DB), deduplicated) == (20, 0)
    assert {state_of(job) for job in jobs} == {EXPIRED}
    assert Job.objects.filter(state="queued").count() == 20
