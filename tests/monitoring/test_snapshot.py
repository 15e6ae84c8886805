"""The snapshot of a backend, as the dashboard, `bgstatus` and monitoring show them."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
import redis

from django_bgtasks.admin.filters import filtered
from django_bgtasks.core import clock
from django_bgtasks.jobs.actions import pause_queue
from django_bgtasks.models import Attempt, Job
from django_bgtasks.monitoring import failures
from django_bgtasks.monitoring.failures import FailureWindow
from django_bgtasks.monitoring.snapshot import QueueSnapshot, Snapshot, take_snapshot
from django_bgtasks.testing import without_redis
from django_bgtasks.worker.maintenance import rollups
from testproject.servers import RedisServer
from tests.app.tasks import add
from tests.interfaces.rows import make_attempt, make_job, make_worker
from tests.named import namespace

pytestmark = pytest.mark.django_db(transaction=True)


def queue(snapshot: Snapshot, name: str = "default") -> QueueSnapshot:
    return next(queue for queue in snapshot.queues if queue.name == name)


def filtered_count(period: str) -> int:
    """How many jobs the list has with this filter."""
    return filtered(Job.objects.all(), {"state": "failed", "finished": period}).count()


def test_a_queue_tells_what_waits_runs_and_ended(redis_client: redis.Redis) -> None:
    for _ in range(2):
        add.enqueue(1, 2)
    with without_redis():
        add.using(priority=50).enqueue(1, 2)
        add.using(run_after=clock.now() + timedelta(hours=1)).enqueue(1, 2)
    Job.objects.filter(state="queued").update(enqueued_at=clock.now() - timedelta(minutes=2))
    make_job("running")
    for state in ("succeeded", "succeeded", "succeeded", "failed"):
        make_job(state)
    rollups.run_once("default")
    found = queue(take_snapshot("default"))
    assert (found.queued, found.scheduled, found.running, found.messages) == (3, 1, 1, 2)
    assert found.oldest == pytest.approx(120, abs=30)
    assert (found.ended, found.failed, found.failure_share) == (4, 1, 0.25)
    assert found.per_minute == pytest.approx(4 / 5)
    assert not found.paused


def test_an_idle_backend_shows_its_queues_with_nothing_in_them(redis_client: redis.Redis) -> None:
    snapshot = take_snapshot("default")
    assert [q.name for q in snapshot.queues] == ["default", "emails", "reports", "uploads"]
    found = queue(snapshot)
    assert (found.queued, found.oldest, found.failure_share) == (0, None, None)
    assert (snapshot.alive, snapshot.workers, snapshot.running) == (0, (), ())
    assert snapshot.failures == FailureWindow()
    assert snapshot.maintenance.beat is None


def test_a_paused_queue_says_so_though_no_setting_names_it(redis_client: redis.Redis) -> None:
    pause_queue("letters", by="root")
    assert queue(take_snapshot("default"), "letters").paused


def test_a_worker_tells_its_job_processes_and_what_they_run(redis_client: redis.Redis) -> None:
    worker = make_worker(hostname="web1", pid=7)
    job = make_job("running", worker=worker.pk)
    name = namespace().worker(f"web1.71.{worker.pk.hex[-8:]}")
    redis_client.sadd("rq:workers", f"rq:worker:{name}")
    redis_client.hset(f"rq:worker:{name}", mapping={"state": "busy", "current_job": str(job.pk)})
    idle = namespace().worker(f"web1.72.{worker.pk.hex[-8:]}")
    redis_client.sadd("rq:workers", f"rq:worker:{idle}")
    redis_client.hset(f"rq:worker:{idle}", "state", "idle")
    make_worker(last_seen_at=clock.now() - timedelta(seconds=60), hostname="web2")
    make_worker(lost_at=clock.now(), hostname="web3")
    make_worker(stopped_at=clock.now(), hostname="web4")
    snapshot = take_snapshot("default")
    assert [(w.hostname, w.health) for w in snapshot.workers] == [
        ("web1", "alive"),
        ("web2", "late"),
        ("web3", "lost"),
    ]
    assert [
        (process.pid, process.state, process.job) for process in snapshot.workers[0].job_processes
    ] == [
        (71, "busy", str(job.pk)),
        (72, "idle", ""),
    ]
    assert [(run.id, run.worker) for run in snapshot.running] == [(str(job.pk), str(worker.pk))]
    assert snapshot.running[0].seconds == pytest.approx(3, abs=20)


def test_failures_that_are_alike_are_one_line(redis_client: redis.Redis) -> None:
    for number in range(3):
        make_attempt(make_job("failed"), exception_class="ValueError", message=f"no {number}")
    make_attempt(make_job("failed"), outcome="crash", code="worker_gone")
    make_attempt(make_job("cancelled"), outcome="cancelled", code="cancelled")
    old = make_attempt(make_job("failed"), exception_class="KeyError")
    Attempt.objects.filter(pk=old.pk).update(finished_at=clock.now() - timedelta(days=2))
    first, second = take_snapshot("default").failures.groups
    assert (first.error, first.count, first.message) == ("ValueError", 3, "no 2")
    assert (second.error, second.outcome, second.count) == ("worker_gone", "crash", 1)


def test_of_failures_that_are_alike_it_is_told_how_many_jobs_wait_for_another_attempt(
    redis_client: redis.Redis,
) -> None:
    for state, attempt in (("scheduled", 1), ("queued", 1), ("failed", 1), ("running", 2)):
        make_attempt(make_job(state, attempt=attempt), exception_class="ValueError")
    again = make_job("scheduled", attempt=2)
    for number in (1, 2):
        make_attempt(again, attempt=number, exception_class="ValueError")
    [group] = take_snapshot("default").failures.groups
    assert (group.count, group.retrying, group.failed) == (6, 3, 1)


def test_a_wave_of_retries_hides_no_failure(redis_client: redis.Redis) -> None:
    """120 jobs fail twice each, and a few of them by something else the second time."""
    for number in range(120):
        job = make_job("failed", attempt=2)
        kind = "KeyError" if number < 10 else "ValueError"
        make_attempt(job, attempt=1, exception_class="ValueError")
        make_attempt(job, attempt=2, exception_class=kind)
    for _ in range(600):
        make_attempt(make_job("succeeded", attempt=2), exception_class="OSError")
    window = take_snapshot("default").failures
    figures = [(group.error, group.count, group.failed) for group in window.groups]
    assert figures == [("ValueError", 230, 110), ("KeyError", 10, 10), ("OSError", 600, 0)]
    assert (window.failed, window.seconds, window.period) == (120, 86_400, "day")


def test_where_very_many_attempts_failed_the_window_is_shorter_and_says_so(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "MOST_ATTEMPTS", 3)
    for minutes in range(5):
        ended = clock.now() - timedelta(minutes=10 * minutes)
        job = make_job("failed", attempt=1, finished_at=ended)
        make_attempt(job, exception_class="ValueError", finished_at=ended)
    window = take_snapshot("default").failures
    [group] = window.groups
    assert window.seconds == pytest.approx(30 * 60, abs=60)
    assert group.failed == window.failed == filtered_count(window.period) == 4


@pytest.mark.parametrize(("minutes", "jobs"), [(0.5, 1), (30, 31), (55, 56), (5 * 60, 301)])
def test_what_ended_in_a_shorter_window_is_counted_by_shorter_roll_ups(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch, minutes: float, jobs: int
) -> None:
    """One job ended in each of the last 400 minutes, and the windows begin somewhere between."""
    monkeypatch.setattr(failures, "MOST_ATTEMPTS", 0)
    now = clock.now()
    for number in range(400):
        make_job(finished_at=now - timedelta(minutes=number), state="succeeded")
    began = now - timedelta(minutes=minutes)
    make_attempt(make_job("failed", attempt=1, finished_at=began), finished_at=began)
    rollups.run_once("default", 24 * 60)
    window = take_snapshot("default").failures
    assert window.failed == 1
    # A roll-up that the window cuts through is counted as a whole.
    assert jobs <= window.ended <= jobs * 25 / 24 + 2


def test_kinds_that_are_left_out_are_counted(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "MOST_GROUPS", 2)
    for number in range(5):
        make_attempt(make_job("failed", attempt=1), exception_class=f"Error{number}")
    window = take_snapshot("default").failures
    assert (len(window.groups), window.more, window.failed) == (2, 3, 5)


def test_jobs_that_are_held_are_counted_by_task_with_the_reason(redis_client: redis.Redis) -> None:
    for number in range(12):
        for _ in range(2 if number else 3):
            task = f"gone.tasks.t{number}"
            fields = {"held_reason": "not_a_task", "error_params": {"task": task}}
            make_job("scheduled", task=task, run_after=clock.now(), **fields)
    make_job("queued", task="gone.tasks.t0", held_reason="of_another_release", error="it waits")
    snapshot = take_snapshot("default")
    first = snapshot.held[0]
    assert (first.task, first.jobs, first.why.text) == ("gone.tasks.t0", 4, "it waits")
    assert "gone.tasks.t1 is not a task" in snapshot.held[1].why.text
    assert (len(snapshot.held), snapshot.held_others) == (10, 4)


def test_a_worker_serves_the_queue_whose_job_it_runs(redis_client: redis.Redis) -> None:
    worker = make_worker(queues=["emails"])
    make_job("running", queue="tenant-00", worker=worker.pk)
    lost = make_worker(queues=["tenant-01"], lost_at=clock.now())
    make_job("running", queue="tenant-01", worker=lost.pk)
    everything = make_worker(queues=["emails"], serves_all=True, hostname="all")
    snapshot = take_snapshot("default")
    served = {name: [w.hostname for w in snapshot.serving(name)] for name in ("tenant-00", "x")}
    assert served == {"tenant-00": ["all", "db1"], "x": ["all"]}
    everything.delete()
    assert take_snapshot("default").serving("tenant-01") == []


def test_maintenance_that_lags_is_seen(redis_client: redis.Redis) -> None:
    make_worker(last_seen_at=clock.now() - timedelta(seconds=5))
    make_job("scheduled", run_after=clock.now() - timedelta(minutes=2))
    make_job("running", worker=None)
    maintenance = take_snapshot("default").maintenance
    assert maintenance.beat == pytest.approx(5, abs=20)
    assert (maintenance.overdue, maintenance.orphans) == (1, 1)
    assert maintenance.delay == pytest.approx(120, abs=20)


def test_without_redis_the_rest_is_told(own_redis: RedisServer) -> None:
    own_redis.kill()
    with without_redis():
        add.enqueue(1, 2)
    snapshot = take_snapshot("default")
    assert snapshot.redis.problem
    assert (queue(snapshot).queued, queue(snapshot).messages) == (1, None)


def test_all_of_it_is_json(redis_client: redis.Redis) -> None:
    make_worker()
    make_attempt(make_job("failed"))
    text = json.dumps(take_snapshot("default").as_dict())
    assert json.loads(text)["alive"] == 1
