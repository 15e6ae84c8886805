"""A stranger writes to Redis: no code comes from there, and nobody is stopped by it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
import redis
import rq
from rq.command import send_kill_horse_command, send_shutdown_command

from django_bgtasks.models import Job
from testproject.servers import RedisServer
from tests.named import waiting_in
from tests.workers import ROOT, WorkerProcess

from . import forgeries, tasks
from .case import Case
from .forgeries import BELIEVED, FORGERIES, Target, plant, plant_registries

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("no_traceback")]
SUSPENDED = "rq:suspended"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Where the forgeries would leave their files."""
    folder = tmp_path / "touched"
    folder.mkdir()
    return folder


@pytest.fixture
def worker(case: Case) -> WorkerProcess:
    """A worker that has run a job."""
    started = case.worker()
    case.enqueue(tasks.plain)
    case.wait_final()
    return started


def one_process(case: Case) -> bool:
    """Whether one and the same process ran all jobs: none was stopped or killed."""
    return len({effect.pid for effect in case.effects.of("begin")}) == 1


def test_nothing_that_is_written_into_a_message_is_executed(
    case: Case, worker: WorkerProcess, redis_client: redis.Redis, files: Path
) -> None:
    """Each forgery three times: over the hash of a real job, with an unknown id, with no id."""
    times = 3 * len(FORGERIES)
    case.row(
        "Security", "functions, pickles, callbacks and webhooks forged into messages", times=times
    )
    redis_client.set(SUSPENDED, 1)
    with forgeries.site() as (site, called):
        for number, forge in enumerate(FORGERIES.values()):
            real = case.enqueue(tasks.plain).id
            for kind, job_id in (("real", real), ("no", str(uuid.uuid4())), ("id", f"x{number}")):
                plant(
                    redis_client,
                    waiting_in("default"),
                    job_id,
                    forge(Target(files / f"{number}-{kind}", site)),
                )
        redis_client.delete(SUSPENDED)
        case.wait_final()
        case.wait_until(lambda: not redis_client.llen(waiting_in("default")))
        case.enqueue(tasks.plain)
        case.wait_final()
        assert (list(files.iterdir()), called) == ([], [])
    assert set(case.effects.times("begin").values()) == {1}
    assert one_process(case)


@pytest.mark.long
def test_a_stock_worker_believes_these_forgeries(own_redis: RedisServer, files: Path) -> None:
    """Else the case above would prove nothing."""
    with redis.Redis.from_url(own_redis.url) as client, forgeries.site() as (site, called):
        for name in BELIEVED:
            job_id = re.sub(r"\W", "-", name)
            plant(client, "rq:queue:default", job_id, FORGERIES[name](Target(files / job_id, site)))
        in_json = FORGERIES["os.system in JSON"](Target(files / "json", site))
        client.hset("rq:job:json", mapping={"origin": "json", "status": "queued", **in_json})
        client.rpush("rq:queue:json", "json")
        command = [sys.executable, "-m", "tests.faults.forgeries", own_redis.url]
        done = subprocess.run(command, cwd=ROOT, timeout=60, capture_output=True, check=False)
    touched = {path.name for path in files.iterdir()} | set(called)
    expected = {re.sub(r"\W", "-", name) for name in BELIEVED} | {"json"}
    assert touched == expected, done.stderr.decode()


def test_the_lists_of_rqs_scheduler_cron_and_maintenance_lead_to_nothing(
    case: Case, worker: WorkerProcess, redis_client: redis.Redis, files: Path
) -> None:
    case.row("Security", "forged jobs in RQ's scheduler, cron, registries and results", times=2)
    real = case.enqueue(tasks.plain, priority=7)
    case.wait_final()
    target = Target(files / "touched", "http://127.0.0.1:9")
    for job_id in (real.id, str(uuid.uuid4())):
        forged = FORGERIES["os.system"](target)
        plant_registries(redis_client, waiting_in("default"), job_id, forged, target.file)
    # RQ's own lists are looked through by its maintenance, and every second by ours.
    for _ in range(20):
        case.enqueue(tasks.nap, 0.1)
    case.wait_final()
    assert list(files.iterdir()) == []
    assert set(case.effects.times("begin").values()) == {1}
    assert one_process(case)


def test_a_command_on_rqs_channel_stops_neither_a_worker_nor_a_job(
    case: Case, worker: WorkerProcess, redis_client: redis.Redis
) -> None:
    case.row(
        "Security", "forged shutdown, kill-horse and stop-job on RQ's command channel", times=5
    )
    job = case.enqueue(tasks.wait_at_gate)
    case.wait_until(lambda: case.effects.of("begin", job.id))
    [name] = [each.name for each in rq.Worker.all(connection=redis_client)]
    send_shutdown_command(redis_client, name)
    send_kill_horse_command(redis_client, name)
    for command in ("shutdown", "kill-horse", "stop-job"):
        payload = json.dumps({"command": command, "job_id": job.id})
        assert redis_client.publish(f"rq:pubsub:{name}", payload) == 0
    redis_client.hset(f"rq:worker:{name}", "state", "suspended")
    after = case.enqueue(tasks.plain)
    case.effects.open_gate()
    case.wait_final()
    assert (case.job(job).state, case.job(job).attempt) == ("succeeded", 1)
    assert case.job(after).state == "succeeded"
    assert one_process(case)
    assert worker.returncode is None


def test_a_worker_of_some_queues_runs_no_job_of_another_one_whatever_list_names_it(
    case: Case, redis_client: redis.Redis
) -> None:
    case.row("Security", "messages of one queue forged into the list of another one", times=4)
    emails = case.worker("emails")
    others = [case.enqueue(tasks.plain, queue_name=name) for name in ("default", "reports")]
    for job in others:
        redis_client.rpush(waiting_in("emails"), job.id, job.id)
        redis_client.hset(f"rq:job:{job.id}", "origin", "emails")
    own = case.enqueue(tasks.plain, queue_name="emails")
    case.wait_until(lambda: case.job(own).state == "succeeded")
    assert redis_client.llen(waiting_in("emails")) == 0
    assert {case.job(job).state for job in others} == {"queued"}
    assert not [e for e in case.effects.of("begin") if e.job != own.id]
    # Not lost for that: their own messages are still there.
    everything = case.worker()
    case.wait_final()
    assert {str(case.job(job).worker) for job in others} == {id_of(everything)}
    assert emails.returncode is None


def test_a_function_that_is_no_task_is_held_and_never_called(
    case: Case, worker: WorkerProcess, redis_client: redis.Redis, files: Path
) -> None:
    """Who can write to the database can enqueue tasks, and no other function."""
    file = files / "touched"
    paths = ("os.system", "subprocess.getoutput", "builtins.eval", "pickle.loads", "no.such.task")
    case.row("Security", "rows whose function is no task", times=len(paths))
    template = case.job(case.enqueue(tasks.plain))
    case.wait_final()
    for path in paths:
        values: dict[str, Any] = {"task": path, "args": [f"touch {file}"], "state": "queued"}
        row = Job(enqueued_at=template.enqueued_at, timeout=5, backend="default", **values)
        row.save(force_insert=True)
        redis_client.rpush(waiting_in("default"), str(row.pk))
    held_jobs = Job.objects.filter(task__in=paths, state="scheduled").exclude(error="")
    case.wait_until(lambda: held_jobs.count() == len(paths), timeout=40)
    assert not file.exists()
    assert {job.attempt for job in held_jobs} == {0}
    held_jobs.delete()


def id_of(worker: WorkerProcess) -> str:
    """The id that a worker gave in its banner."""
    return worker.wait_for("bgworker ").string.split("bgworker ")[1].split()[0]
