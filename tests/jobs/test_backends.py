"""Jobs of several backends in one ledger: each is its backend's, and a stranger's harms nobody."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import redis
from pytest_django import Settings

from django_bgtasks import QueueFull
from django_bgtasks.core import clock
from django_bgtasks.core.states import FINAL, State
from django_bgtasks.jobs import actions
from django_bgtasks.jobs.execute import claim_jobs
from django_bgtasks.ledger import queues, workers
from django_bgtasks.ledger.lifecycle import claim_next
from django_bgtasks.ledger.transitions import next_due
from django_bgtasks.models import Attempt, Job, Worker
from django_bgtasks.monitoring.snapshot import take_snapshot
from django_bgtasks.testing import run_jobs, without_redis
from django_bgtasks.worker.maintenance import promote, prune, rescue
from django_bgtasks.worker.maintenance.redispatch import Redispatch
from tests.app.tasks import add
from tests.ledger.rows import DB, added, aged, claimed, in_state
from tests.named import waiting_in

from .tasks import third_time_lucky

pytestmark = pytest.mark.django_db(transaction=True)
RQ_BACKEND = "django_bgtasks.backend.RQBackend"
DAY = timedelta(days=1)


def backend(**options: Any) -> dict[str, Any]:
    return {"BACKEND": RQ_BACKEND, "QUEUES": ["default"], "OPTIONS": options}


@pytest.fixture
def two(settings: Settings) -> None:
    """Two backends with a queue of the same name, and other settings."""
    archive = backend(keep_succeeded_days=365, keep_failed_days=365, keep_cancelled_days=365)
    settings.TASKS = {"default": backend(keep_succeeded_days=1, max_depth=2), "archive": archive}


def dead_of(stored: str) -> Job:
    """A running job with this alias, whose worker is dead."""
    return claimed(backend=stored, max_attempts=3, task="shop.tasks.gone")


def ids(rows: Any) -> set[UUID]:
    return {row.pk for row in rows}


# Each backend's jobs are its own.


def test_each_backends_jobs_are_kept_for_its_own_days(two: None) -> None:
    young = [aged(in_state(state, backend="archive"), 30 * DAY) for state in FINAL]
    strange = aged(in_state(State.SUCCEEDED, backend="removed"), 3000 * DAY)
    for old in (30 * DAY, 400 * DAY):
        aged(in_state(State.SUCCEEDED, backend="default"), old)
    too_old = aged(in_state(State.SUCCEEDED, backend="archive"), 400 * DAY)
    assert prune.run_once(DB, ["default"]) == 2
    assert ids(Job.objects.all()) == ids([*young, strange, too_old])
    assert prune.run_once(DB) == 1
    assert ids(Job.objects.all()) == ids([*young, strange])


def test_a_worker_claims_the_jobs_of_its_backend_alone(two: None) -> None:
    own, other = added(backend="default"), added(backend="archive", priority=9)
    both = [other.pk, own.pk]
    assert ids(claim_jobs(both, uuid4(), DB, (), "default")) == {own.pk}
    assert claim_next(["default"], uuid4(), DB, backend="default") is None
    found = claim_next(["default"], uuid4(), DB, backend="archive")
    assert found is not None
    assert found.pk == other.pk


def test_what_waits_in_another_backend_fills_no_queue_of_this_one(two: None) -> None:
    with without_redis():
        for _ in range(3):
            added(backend="archive")
        add.enqueue(1, 2)
        add.enqueue(1, 2)
        with pytest.raises(QueueFull):
            add.enqueue(1, 2)


def test_a_queue_of_one_backend_is_paused_without_the_one_of_the_same_name(two: None) -> None:
    actions.pause_queue("default", "archive")
    assert queues.paused("default", DB) == frozenset()
    assert queues.paused("archive", DB) == {"default"}


def test_the_figures_of_a_backend_are_of_its_jobs(two: None, redis_client: redis.Redis) -> None:
    for state in (State.QUEUED, State.SCHEDULED, State.RUNNING):
        in_state(state, backend="archive")
    for name, number in (("default", 0), ("archive", 1)):
        [queue] = take_snapshot(name).queues
        assert (queue.queued, queue.scheduled, queue.running) == (number,) * 3
        assert not take_snapshot(name).unknown_backends


def test_a_worker_is_called_dead_by_its_own_settings(two: None) -> None:
    def seen_20_seconds_ago(dead_after: float) -> Worker:
        now = clock.now()
        row = Worker(pk=uuid4(), hostname="h", pid=1, processes=1, dead_after=dead_after)
        row.started_at, row.last_seen_at = now, now - timedelta(seconds=20)
        row.save(force_insert=True)
        return row

    patient, quick = seen_20_seconds_ago(60), seen_20_seconds_ago(10)
    assert workers.call_dead(5, DB) == 0, "so early nobody can tell"
    assert workers.call_dead(1000, DB) == 1
    assert ids(Worker.objects.filter(lost_at=None)) == {patient.pk}
    assert quick.pk not in ids(Worker.objects.filter(lost_at=None))


# The alias of the time before TASKS named a backend.


def stored_as(stored: str, **fields: Any) -> Job:
    return added(backend=stored, **fields)


def later() -> Any:
    return clock.now() + timedelta(hours=1)


def test_jobs_from_before_tasks_named_a_backend_are_those_of_the_default_one(
    redis_client: redis.Redis, make_due: Callable[[], None]
) -> None:
    queued, scheduled = stored_as("bgtasks"), stored_as("bgtasks", run_after=later())
    [default] = [queue for queue in take_snapshot("default").queues if queue.name == "default"]
    assert (default.queued, default.scheduled) == (1, 1)
    assert Redispatch("default", DB).run_once() == 1
    make_due()
    assert promote.run_once(DB) == 1
    assert redis_client.llen(waiting_in("default")) == 2
    assert ids(claim_jobs([queued.pk, scheduled.pk], uuid4(), DB, (), "default")) == ids(
        [queued, scheduled]
    )
    old = aged(in_state(State.SUCCEEDED, backend="bgtasks"), 30 * DAY)
    prune.run_once(DB)
    assert not Job.objects.filter(pk=old.pk).exists()


def test_a_queue_that_was_paused_under_the_implicit_alias_is_still_paused() -> None:
    queues.pause("emails", "bgtasks", "root", DB)
    assert queues.paused("default", DB) == {"emails"}
    assert actions.pause_queue("emails") is None
    assert actions.resume_queue("emails") is not None
    assert queues.paused("default", DB) == frozenset()


def test_of_several_backends_the_implicit_alias_is_the_default_ones(two: None) -> None:
    job = stored_as("bgtasks")
    assert claim_next(["default"], uuid4(), DB, backend="archive") is None
    found = claim_next(["default"], uuid4(), DB, backend="default")
    assert found == job


def test_an_entry_of_that_name_has_its_jobs_for_itself(settings: Settings) -> None:
    settings.TASKS = {"default": backend(), "bgtasks": backend()}
    job = stored_as("bgtasks")
    assert claim_next(["default"], uuid4(), DB, backend="default") is None
    assert claim_next(["default"], uuid4(), DB, backend="bgtasks") == job


# A backend that TASKS does not have.

WITHOUT_IT = {
    "removed": {"default": backend()},
    "not ours": {
        "default": backend(),
        "removed": {"BACKEND": "django_tasks.backends.dummy.DummyBackend"},
    },
    "none of ours": {},
}


@pytest.fixture(params=WITHOUT_IT)
def site(request: pytest.FixtureRequest, settings: Settings) -> str:
    settings.TASKS = WITHOUT_IT[request.param]
    return str(request.param)


def test_a_scheduled_job_of_an_unknown_backend_waits_and_holds_up_nobody(
    site: str, make_due: Callable[[], None]
) -> None:
    strange = stored_as("removed", run_after=later())
    own = stored_as("bgtasks", run_after=later())
    make_due()
    with without_redis():
        assert promote.run_once(DB) == 1
        assert promote.run_once(DB) == 0
        assert next_due(DB)[0] is None
    states = dict(Job.objects.values_list("pk", "state"))
    assert states == {strange.pk: "scheduled", own.pk: "queued"}


def test_the_death_of_a_job_of_an_unknown_backend_is_settled(
    site: str, caplog: pytest.LogCaptureFixture
) -> None:
    strange, own = dead_of("removed"), dead_of("bgtasks")
    with caplog.at_level(logging.ERROR):
        assert rescue.run_once(10, DB) == 2
    assert not caplog.records
    assert {Job.objects.get(pk=job.pk).state for job in (strange, own)} == {"queued"}
    assert Attempt.objects.count() == 2


def test_people_retry_cancel_and_run_a_job_of_an_unknown_backend(site: str) -> None:
    for state, act in (
        (State.FAILED, actions.retry_job),
        (State.QUEUED, actions.cancel_job),
        (State.SCHEDULED, actions.run_job_now),
    ):
        job = in_state(state, backend="removed")
        act(job.pk)
        assert Job.objects.get(pk=job.pk).state != state


def test_a_job_whose_backend_becomes_unknown_while_it_runs_is_held_at_its_retry() -> None:
    with without_redis():
        job = third_time_lucky.enqueue().job
    Job.objects.update(backend="removed")
    run_jobs()
    row = Job.objects.get(pk=job.pk)
    assert (row.state, row.attempt) == ("scheduled", 2)


def test_the_figures_tell_of_unknown_backends_and_of_no_job_that_others_run(site: str) -> None:
    for state in State:
        in_state(state, backend="removed")
    alias = "bgtasks" if site == "none of ours" else "default"
    [unknown] = take_snapshot(alias).unknown_backends
    assert (unknown.backend, unknown.jobs) == ("removed", 2)


# One that cannot be settled.


def test_what_is_wrong_with_one_job_is_not_in_the_way_of_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from django_bgtasks.worker.maintenance import dead_processes

    bad, *others = [dead_of("default") for _ in range(3)]
    real: Any = getattr(dead_processes, "apply_outcome")  # noqa: B009

    def apply_outcome(job: Job, *args: Any) -> None:
        if job.pk == bad.pk:
            raise ValueError("as no job should be")
        real(job, *args)

    monkeypatch.setattr(dead_processes, "apply_outcome", apply_outcome)
    assert rescue.run_once(10, DB) == 2
    assert rescue.run_once(10, DB) == 0
    assert [record.message for record in caplog.records if record.exc_info] == [
        f"The end of job {bad.pk} could not be settled."
    ]
    monkeypatch.undo()
    assert rescue.run_once(10, DB) == 1
    assert queues.with_queued_jobs("default", DB) == ["default"]
    assert {Job.objects.get(pk=job.pk).state for job in [bad, *others]} == {"queued"}
