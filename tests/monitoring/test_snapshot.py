"""The snapshot of a backend, as the dashboard, `bgstatus` and monitoring show them."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
import redis

from django_bgtasks.core import clock
from django_bgtasks.jobs.actions import pause_queue
from django_bgtasks.models import Attempt, Job
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
    assert (snapshot.alive, snapshot.workers, snapshot.running, snapshot.failures) == (
        0,
        (),
        (),
        (),
    )
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
    make_attempt(make_job("failed"), outcome="crash")
    old = make_attempt(make_job("failed"), exception_class="KeyError")
    Attempt.objects.filter(pk=old.pk).update(finished_at=clock.now() - timedelta(days=2))
    first, second = take_snapshot("default").failures
    assert (first.exception, first.count, first.message) == ("ValueError", 3, "no 2")
    assert (second.exception, second.count) == ("Crashed", 1)


def test_of_failures_that_are_alike_it_is_told_how_many_jobs_wait_for_another_attempt(
    redis_client: redis.Redis,
) -> None:
    for state in ("scheduled", "queued", "failed", "running"):
        make_attempt(make_job(state, attempt=1), exception_class="ValueError")
    again = make_job("scheduled", attempt=2)
    for number in (1, 2):
        make_attempt(again, attempt=number, exception_class="ValueError")
    [group] = take_snapshot("default").failures
    assert (group.count, group.retrying) == (6, 3)


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
