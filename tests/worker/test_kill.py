"""Kills: whatever process dies at whatever moment, its job runs again and the death is counted."""

from __future__ import annotations

import contextlib
import time

import psutil
import pytest
import redis
import rq
from django.db import transaction

from django_bgtasks.jobs.enqueue import dispatch, message_for
from django_bgtasks.models import Attempt, Job, Worker
from django_bgtasks.transport.queues import is_marked
from tests.named import namespace, waiting_in
from tests.waiting import wait_until
from tests.workers import WorkerFactory, WorkerProcess

from . import tasks
from .conftest import QUICK, Effects
from .jobs import outcomes, wait_for_state

pytestmark = pytest.mark.faults


def maintenance_of(worker: WorkerProcess) -> psutil.Process:
    """The first process that the supervisor started."""
    children = psutil.Process(worker.pid).children()
    return min(children, key=lambda process: process.pid)


def job_processes_of(worker: WorkerProcess) -> list[psutil.Process]:
    """All processes but the first."""
    children = psutil.Process(worker.pid).children()
    return sorted(children, key=lambda process: process.pid)[1:]


@pytest.fixture
def busy(bgworker: WorkerFactory, effects: Effects) -> WorkerProcess:
    """A worker whose job waits at the gate."""
    worker = bgworker()
    tasks.wait_at_gate.enqueue(str(effects))
    wait_until(lambda: effects.texts == ["begin"])
    return worker


def test_a_job_whose_process_is_killed_runs_again_within_3_s_and_the_attempt_is_charged(
    busy: WorkerProcess, effects: Effects
) -> None:
    psutil.Process(effects.pids[0]).kill()
    wait_until(lambda: effects.texts == ["begin", "begin"], timeout=3)
    effects.open_gate()
    job = Job.objects.get()
    wait_until(lambda: Job.objects.get().state == "succeeded")
    attempt = Attempt.objects.get()
    assert (attempt.job_id, attempt.attempt, attempt.outcome) == (job.pk, 1, "crash")
    assert "SIGKILL" in attempt.message
    assert attempt.worker == Worker.objects.get().pk
    wait_until(lambda: Worker.objects.get().processes_lost == 1)
    assert Job.objects.get().attempt == 2


def test_an_exit_with_the_code_of_success_is_a_crash(
    bgworker: WorkerFactory, effects: Effects
) -> None:
    bgworker()
    job = tasks.exit_once.enqueue(str(effects))
    done = wait_for_state(job, "succeeded")
    assert (done.result, done.attempt) == ("second", 2)
    assert outcomes(job) == ["crash"]
    assert "exited with code 0" in Attempt.objects.get().message


def test_a_job_that_always_crashes_fails_after_three_crashes(
    bgworker: WorkerFactory, effects: Effects
) -> None:
    worker = bgworker()
    job = tasks.crash_always.enqueue(str(effects))
    failed = wait_for_state(job, "failed")
    assert outcomes(job) == ["crash", "crash", "crash"]
    assert effects.texts == ["begin"] * 3
    assert "SIGSEGV" in failed.error
    wait_for_state(tasks.record.enqueue(str(effects), "next"), "succeeded")
    assert worker.returncode is None


def test_a_job_that_must_not_be_repeated_fails_at_its_first_crash(
    bgworker: WorkerFactory, effects: Effects
) -> None:
    bgworker()
    job = tasks.wait_at_gate_only_once.enqueue(str(effects))
    wait_until(lambda: effects.texts == ["begin"])
    psutil.Process(effects.pids[0]).kill()
    wait_for_state(job, "failed", timeout=3)
    assert outcomes(job) == ["crash"]


# PostgreSQL sees without the lock that the job is not queued: there the message is dropped at once.
@pytest.mark.sqlite
def test_a_process_killed_over_a_second_message_does_not_take_the_job_from_the_one_that_runs_it(
    bgworker: WorkerFactory, effects: Effects, redis_client: redis.Redis
) -> None:
    worker = bgworker("--processes", 2)
    tasks.wait_at_gate.enqueue(str(effects))
    wait_until(lambda: effects.texts == ["begin"])
    [sibling] = set(job_processes_of(worker)) - {psutil.Process(effects.pids[0])}
    with transaction.atomic():
        # While this test holds the row, the sibling cannot go on from its message to the claim.
        Job.objects.update(error="")
        assert dispatch([message_for(Job.objects.get())], "default")
        both = (rq.worker.WorkerStatus.BUSY,) * 2
        wait_until(lambda: tuple(w.get_state() for w in rq.Worker.all(redis_client)) == both)
        sibling.kill()
    wait_until(lambda: Worker.objects.get().processes_lost == 1)
    job = Job.objects.get()
    assert (job.state, job.attempt, job.claims) == ("running", 1, 1)
    effects.open_gate()
    wait_until(lambda: Job.objects.get().state == "succeeded")
    assert effects.texts == ["begin", "end"]


def test_a_process_that_is_killed_while_it_has_no_job_is_told_of_and_replaced(
    bgworker: WorkerFactory, effects: Effects
) -> None:
    worker = bgworker("--processes", 1)
    tasks.record.enqueue(str(effects), "done")
    wait_until(lambda: Job.objects.get().state == "succeeded")
    [idle] = job_processes_of(worker)
    idle.kill()
    worker.wait_for(
        f"Job process {idle.pid} had no job and has ended (The process was killed by SIGKILL.); "
        "another one takes its place."
    )
    tasks.record.enqueue(str(effects), "done")
    wait_until(lambda: not Job.objects.exclude(state="succeeded").exists())


def test_the_processes_die_with_their_supervisor(busy: WorkerProcess) -> None:
    family = busy.family()
    assert len(family) == 3
    psutil.Process(busy.pid).kill()
    assert busy.wait(5) == -9
    _, alive = psutil.wait_procs(family, timeout=3)
    assert alive == []


def test_maintenance_is_started_again(busy: WorkerProcess, effects: Effects) -> None:
    maintenance_of(busy).kill()
    busy.wait_for("Maintenance has ended (The process was killed by SIGKILL.); starting it again.")
    # The new one does its work: a crash is settled.
    psutil.Process(effects.pids[0]).kill()
    wait_until(lambda: effects.texts == ["begin", "begin"], timeout=3)
    effects.open_gate()
    wait_until(lambda: Job.objects.get().state == "succeeded")
    assert busy.stop() == 0


def test_a_crash_is_settled_though_maintenance_died_with_it(
    busy: WorkerProcess, effects: Effects
) -> None:
    maintenance = maintenance_of(busy)
    psutil.Process(effects.pids[0]).kill()
    maintenance.kill()
    wait_until(lambda: effects.texts == ["begin", "begin"], timeout=4)
    effects.open_gate()
    wait_until(lambda: Job.objects.get().state == "succeeded")
    assert [attempt.outcome for attempt in Attempt.objects.all()] == ["crash"]


@pytest.mark.long(after=1)
@pytest.mark.parametrize("victim", ["tree", "supervisor"])
def test_the_job_of_a_dead_worker_is_rescued_by_another(
    bgworker: WorkerFactory, effects: Effects, victim: str
) -> None:
    first = bgworker(env=QUICK)
    job = tasks.wait_at_gate.enqueue(str(effects))
    wait_until(lambda: effects.texts == ["begin"])
    if victim == "tree":
        first.kill()
    else:
        psutil.Process(first.pid).kill()
    bgworker(env=QUICK)
    wait_until(lambda: effects.texts == ["begin", "begin"], timeout=6)
    effects.open_gate()
    assert wait_for_state(job, "succeeded").attempt == 2
    assert outcomes(job) == ["crash"]
    assert Worker.objects.filter(lost_at__isnull=False).count() == 1


@pytest.mark.long
@pytest.mark.slow
def test_with_the_defaults_a_dead_worker_is_rescued_within_15_s(
    bgworker: WorkerFactory, effects: Effects
) -> None:
    first = bgworker()
    tasks.wait_at_gate.enqueue(str(effects))
    wait_until(lambda: effects.texts == ["begin"])
    bgworker()
    wait_until(lambda: Worker.objects.count() == 2)
    first.kill()
    died = time.monotonic()
    wait_until(lambda: effects.texts == ["begin", "begin"], timeout=20)
    assert time.monotonic() - died <= 15
    effects.open_gate()


# SQLite has one lock: while the test holds it, maintenance cannot even say that its worker lives.
@pytest.mark.parametrize(
    "resent",
    [
        pytest.param(False, id="at once"),
        pytest.param(
            True, id="after it was sent again", marks=[pytest.mark.postgres, pytest.mark.mysql]
        ),
    ],
)
def test_a_process_killed_while_it_claims_loses_no_job_and_charges_no_attempt(
    bgworker: WorkerFactory, redis_client: redis.Redis, effects: Effects, resent: bool
) -> None:
    bgworker()
    wait_for_state(tasks.record.enqueue(str(effects), "warm"), "succeeded")
    [first] = effects.pids
    redis_client.set("rq:suspended", 1)
    job = tasks.attempt_number.enqueue(str(effects))
    wait_for_message(redis_client)
    with transaction.atomic():
        # The claim has to wait for this lock, so that the kill finds it begun and not done. On
        # PostgreSQL it goes on without its process, and is committed when the lock is gone.
        Job.objects.select_for_update().get(pk=job.id)
        redis_client.delete("rq:suspended")
        wait_until(lambda: current_jobs(redis_client).get(job.id) == first)
        psutil.Process(first).kill()
        wait_until(lambda: not psutil.pid_exists(first))
        if resent:
            wait_until(lambda: current_jobs(redis_client).get(job.id, first) != first)
    done = wait_for_state(job, "succeeded", timeout=12)
    assert effects.texts == ["warm", "attempt 1"]
    assert done.attempt == 1
    assert outcomes(job) == []


def wait_for_message(redis_client: redis.Redis) -> None:
    """Wait until the one message is in its queue: maintenance sends it where Redis was too busy."""
    wait_until(lambda: redis_client.llen(waiting_in("default")) == 1, timeout=40)


def current_jobs(redis_client: redis.Redis) -> dict[str | None, int | None]:
    """The process that holds each job, as RQ's registry says."""
    workers = rq.Worker.all(connection=redis_client)
    return {w.get_current_job_id(): w.pid for w in workers if w.get_current_job_id()}


@pytest.mark.slow
def test_a_message_that_vanished_is_sent_again_within_30_s(
    bgworker: WorkerFactory, redis_client: redis.Redis, effects: Effects
) -> None:
    worker = bgworker()
    wait_for_state(tasks.record.enqueue(str(effects), "warm"), "succeeded")
    # Before its first look a Redis without the mark of a worker is one that was wiped.
    wait_until(lambda: is_marked(namespace(), redis_client))
    redis_client.set("rq:suspended", 1)
    job = tasks.record.enqueue(str(effects), "lost")
    wait_for_message(redis_client)
    assert redis_client.lpop(waiting_in("default")) == job.id.encode()
    redis_client.delete("rq:suspended")
    wait_for_state(job, "succeeded", timeout=30)
    assert effects.texts == ["warm", "lost"]
    assert "1 queued jobs were missing in Redis and were sent again." in worker.output


@pytest.mark.long
def test_ten_kills_in_a_row_leave_no_descriptor_and_no_zombie_with_the_supervisor(
    bgworker: WorkerFactory, effects: Effects
) -> None:
    worker = bgworker()
    supervisor = psutil.Process(worker.pid)

    def run_one(number: int) -> None:
        wait_for_state(tasks.record.enqueue(str(effects), str(number)), "succeeded")

    run_one(0)
    before = supervisor.num_fds(), supervisor.num_threads()
    for number in range(1, 6):
        psutil.Process(effects.pids[-1]).kill()
        with contextlib.suppress(psutil.NoSuchProcess):
            maintenance_of(worker).kill()
        run_one(number)
    wait_until(lambda: len(supervisor.children()) == 2)
    assert (supervisor.num_fds(), supervisor.num_threads()) == before
    assert not [c for c in supervisor.children() if c.status() == psutil.STATUS_ZOMBIE]


def test_a_process_that_runs_many_jobs_keeps_its_descriptors_and_threads(
    bgworker: WorkerFactory, effects: Effects
) -> None:
    bgworker()
    # Groups and the thread that watches over them included.
    warm = tasks.record.enqueue_many([(str(effects), "warm")] * 50)
    slow = tasks.nap.enqueue(str(effects), "slow", 0.1)
    for job in (*warm, *tasks.record.enqueue_many([(str(effects), "warm")] * 50), slow):
        wait_for_state(job, "succeeded")
    process = psutil.Process(effects.pids[0])
    before = process.num_fds(), process.num_threads()
    jobs = tasks.record.enqueue_many([(str(effects), "more")] * 50)
    for job in (*jobs, tasks.fail_once.enqueue(str(effects))):
        wait_for_state(job, "succeeded")
    assert set(effects.pids) == {process.pid}
    # A descriptor may be open for the moment in which somebody counts.
    wait_until(lambda: (process.num_fds(), process.num_threads()) == before)
