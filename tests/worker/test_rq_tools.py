"""RQ's own tools beside a running worker: they see it, hold it and release it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest
import redis
import rq
from rq.worker import BaseWorker

from django_bgtasks.transport import messages
from django_bgtasks.transport.messages import FUNCTION, Finished, exchange
from django_bgtasks.transport.rq_worker import RQWorker
from testproject.servers import RedisServer
from tests.app.tasks import add
from tests.named import namespace, waiting_in
from tests.waiting import wait_until
from tests.workers import WorkerFactory, WorkerProcess

from . import tasks
from .conftest import QUICK, Effects
from .jobs import row, wait_for_state


def rq_command(redis_client: redis.Redis, *arguments: str) -> str:
    """Run RQ's command line; returns what it prints."""
    kwargs = redis_client.connection_pool.connection_kwargs
    url = f"redis://{kwargs['host']}:{kwargs['port']}/{kwargs.get('db', 0)}"
    command = [str(Path(sys.executable).with_name("rq")), *arguments, "--url", url]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    return done.stdout + done.stderr


def workers_of(redis_client: redis.Redis) -> list[BaseWorker]:
    return rq.Worker.all(connection=redis_client)


def started(bgworker: WorkerFactory, redis_client: redis.Redis, processes: int) -> WorkerProcess:
    worker = bgworker("emails", "default", "--processes", processes)
    wait_until(lambda: [w.get_state() for w in workers_of(redis_client)] == ["idle"] * processes)
    return worker


def test_rq_sees_the_workers_their_queues_and_what_they_do(
    bgworker: WorkerFactory, redis_client: redis.Redis, effects: Effects
) -> None:
    started(bgworker, redis_client, 2)
    queues = [namespace().rq_queue(name) for name in ("emails", "default")]
    assert [w.queue_names() for w in workers_of(redis_client)] == [queues] * 2
    job = tasks.wait_at_gate.enqueue(str(effects))
    wait_until(lambda: effects.texts == ["begin"])
    busy, idle = sorted(workers_of(redis_client), key=lambda w: str(w.get_state()))
    assert (busy.get_state(), idle.get_state()) == ("busy", "idle")
    assert busy.get_current_job_id() == job.id
    current = busy.get_current_job()
    assert current is not None
    assert (current.func_name, current.args, current.kwargs) == (FUNCTION, (job.id,), {})
    assert idle.get_current_job_id() is None
    assert busy.pid == effects.pids[0]
    effects.open_gate()
    wait_for_state(job, "succeeded")
    wait_until(lambda: {w.get_state() for w in workers_of(redis_client)} == {"idle"})
    assert sum(w.successful_job_count for w in workers_of(redis_client)) == 1


def test_rq_info_shows_the_workers_and_the_jobs_that_wait(
    bgworker: WorkerFactory, redis_client: redis.Redis, effects: Effects
) -> None:
    started(bgworker, redis_client, 1)
    tasks.wait_at_gate.enqueue(str(effects))
    wait_until(lambda: effects.texts == ["begin"])
    waiting = tasks.record_email.using(priority=50).enqueue(str(effects), "later")
    printed = rq_command(redis_client, "info")
    [name] = [w.name for w in workers_of(redis_client)]
    assert name in printed
    assert "emails-p50" in printed
    assert "1 workers" in printed
    assert "busy" in printed
    effects.open_gate()
    wait_for_state(waiting, "succeeded")


@pytest.mark.parametrize("ending", ["stop", "kill"])
def test_a_worker_that_has_ended_is_gone_from_rq(
    bgworker: WorkerFactory, redis_client: redis.Redis, ending: str
) -> None:
    worker = started(bgworker, redis_client, 2)
    if ending == "stop":
        assert worker.stop() == 0
    else:
        [first, _] = workers_of(redis_client)
        assert first.pid is not None
        wait_until(lambda: first.pid in {process.pid for process in worker.family()})
        [dead] = [process for process in worker.family() if process.pid == first.pid]
        dead.kill()
        wait_until(lambda: first.name not in {w.name for w in workers_of(redis_client)})
        worker.stop()
    wait_until(lambda: workers_of(redis_client) == [])


@pytest.mark.long
def test_another_worker_takes_one_that_was_killed_whole_out_of_rq(
    bgworker: WorkerFactory, redis_client: redis.Redis
) -> None:
    dead = bgworker("--processes", 2, env=QUICK)
    wait_until(lambda: len(workers_of(redis_client)) == 2)
    names = {w.name for w in workers_of(redis_client)}
    dead.kill()
    bgworker(env=QUICK)
    wait_until(lambda: len({w.name for w in workers_of(redis_client)} - names) == 1)
    wait_until(lambda: not names & {w.name for w in workers_of(redis_client)})


def test_rq_suspend_holds_all_jobs_and_rq_resume_lets_them_go(
    bgworker: WorkerFactory, redis_client: redis.Redis, effects: Effects
) -> None:
    started(bgworker, redis_client, 2)
    rq_command(redis_client, "suspend")
    # At once: the workers wait for a message and have not looked since.
    jobs = [tasks.record.enqueue(str(effects), str(number)) for number in range(4)]
    wait_until(lambda: {w.get_state() for w in workers_of(redis_client)} == {"suspended"})
    jobs.append(tasks.record.enqueue(str(effects), "4"))
    assert {row(job).state for job in jobs} == {"queued"}
    assert effects.texts == []
    # Maintenance sends what a busy Redis did not take.
    wait_until(lambda: redis_client.llen(waiting_in("default")) == 5, timeout=40)
    rq_command(redis_client, "resume")
    for job in jobs:
        wait_for_state(job, "succeeded")
    assert sorted(effects.texts) == ["0", "1", "2", "3", "4"]


def test_a_running_job_goes_on_while_the_workers_are_suspended(
    bgworker: WorkerFactory, redis_client: redis.Redis, effects: Effects
) -> None:
    started(bgworker, redis_client, 1)
    job = tasks.wait_at_gate.enqueue(str(effects))
    wait_until(lambda: effects.texts == ["begin"])
    rq_command(redis_client, "suspend")
    effects.open_gate()
    wait_for_state(job, "succeeded")
    wait_until(lambda: {w.get_state() for w in workers_of(redis_client)} == {"suspended"})


def test_another_rq_worker_cannot_run_a_job_of_ours(
    transactional_db: None, redis_client: redis.Redis
) -> None:
    job = add.enqueue(1, 2)
    url = RedisServer().url
    queue = namespace().rq_queue("default")
    arguments = ["worker", queue, "--burst"]
    done = subprocess.run(
        [str(Path(sys.executable).with_name("rq")), *arguments, "--url", url],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert "Run it with `python manage.py bgworker`" in done.stdout + done.stderr
    assert row(job).state == "queued"


@pytest.mark.parametrize("waits", [True, False], ids=["waited for", "there already"])
@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "plain"])
def test_a_job_without_a_message_is_not_shown_as_the_current_one(
    waits: bool,
    scripts: bool,
    transactional_db: None,
    redis_client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not scripts:
        monkeypatch.setattr(messages, "run_script", lambda script, plain, redis: plain())
    names, job_id = namespace(), uuid4()
    worker = RQWorker(["default"], lambda found: found, "1", names, redis_client)
    redis_client.hset(worker.key, "current_job", str(uuid4()))
    if waits:
        begins = worker.begin(job_id).commands
        assert begins is not None
        for command in begins(scripts):
            redis_client.execute_command(*command)  # type: ignore[no-untyped-call]
    else:
        redis_client.rpush(waiting_in("default"), str(job_id))
        taken = exchange(worker.key, Finished(), ["default"], [1], names, redis_client)
        assert taken.ids == [job_id]
    [seen] = workers_of(redis_client)
    assert (seen.get_state(), seen.get_current_job()) == ("busy", None)
