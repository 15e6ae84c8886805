"""Short jobs go in groups: fewer commits, the same promises, and none waits behind a slow one."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from math import inf
from uuid import UUID

import pytest
import redis
from django.db import OperationalError

from django_bgtasks import testing
from django_bgtasks.core import clock
from django_bgtasks.jobs.execute import Run
from django_bgtasks.ledger.lifecycle import release
from django_bgtasks.models import Attempt, Job
from django_bgtasks.models.job import JobQuerySet
from django_bgtasks.worker.config import WorkerConfig
from django_bgtasks.worker.executors.inline import BatchSizer, OverrunWatch, Prefetched, Round
from django_bgtasks.worker.job_process import JobProcess
from django_bgtasks.worker.shared_state import HeldJob, SharedState
from tests.app.tasks import add
from tests.waiting import wait_until
from tests.workers import WorkerFactory

from . import tasks
from .conftest import Effects
from .jobs import unfinished, wait_for_state

MANY = 300


def run_many(bgworker: WorkerFactory, *arguments: object) -> JobQuerySet:
    """Many short jobs, after a worker has run them."""
    results = add.enqueue_many([(number, 1) for number in range(MANY)])
    assert bgworker("--burst", *arguments).wait() == 0
    jobs = Job.objects.filter(pk__in=[result.id for result in results])
    assert jobs.filter(state="succeeded", attempt=1).count() == MANY
    assert {job.result - job.args[0] for job in jobs} == {1}
    return jobs.order_by()


def commits(jobs: JobQuerySet) -> int:
    """How many settled these jobs: those of one commit have the same time."""
    return jobs.values("finished_at").distinct().count()


def run_many_together(bgworker: WorkerFactory) -> bool:
    """Whether few commits settled many jobs, most of which were claimed once."""
    jobs = run_many(bgworker)
    return commits(jobs) < MANY / 3 and jobs.filter(claims=1).count() > MANY / 2


# On MariaDB each of the statements of one commit has a time of its own.
@pytest.mark.sqlite
@pytest.mark.postgres
def test_short_jobs_are_settled_together(bgworker: WorkerFactory) -> None:
    # While a busy machine keeps the worker waiting, no job looks short, and groups are handed back.
    wait_until(lambda: run_many_together(bgworker), 60)


def test_with_a_group_size_of_1_each_job_has_a_commit_of_its_own(bgworker: WorkerFactory) -> None:
    # SQLite's clock has milliseconds.
    assert commits(run_many(bgworker, "--group-size", 1)) > MANY / 3


# With a group size of 1 the messages that wait are popped, and their jobs not claimed.
@pytest.mark.parametrize("size", [100, 1])
def test_what_waits_behind_a_slow_job_begins_in_an_idle_process_within_100_ms(
    bgworker: WorkerFactory, effects: Effects, size: int
) -> None:
    """Beyond what a machine, however busy, takes for the same jobs when nothing is before them."""
    bgworker("--processes", 2, "--group-size", size)
    alone, behind = inf, inf
    for number in range(5):
        alone = min(alone, longest_wait(effects, f"alone{number}", slow=False))
        behind = min(behind, longest_wait(effects, f"behind{number}", slow=True))
        if behind <= alone + 0.1:
            break
    assert behind <= alone + 0.1
    assert not Attempt.objects.exists()


@pytest.mark.usefixtures("transactional_db")
def test_what_the_watch_can_hand_back_only_late_is_not_forgotten(
    effects: Effects, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes what waits out of the group, finds no connection, and puts it in again."""
    config = WorkerConfig(backend="default", using="default", group_size=3)
    process, main_thread = JobProcess(config, SharedState()), threading.current_thread()
    process.inline.sizer.ran("default", 0.0)
    main_has_looked = threading.Event()

    def release_or_fail(jobs: list[Job], alias: str) -> None:
        if threading.current_thread() is not main_thread:
            main_has_looked.wait(10)
            raise OperationalError("couldn't get a connection")
        release(jobs, alias)

    def settle_and_tell(runs: list[Run], patient: bool = True) -> None:
        settle(runs, patient)
        main_has_looked.set()

    settle = process.settler.settle
    monkeypatch.setattr("django_bgtasks.worker.job_process.release", release_or_fail)
    monkeypatch.setattr(process.settler, "settle", settle_and_tell)
    with testing.without_redis():
        calls = [(str(effects), "slow", 0.3), *[(str(effects), "short", 0)] * 2]
        jobs = tasks.nap.enqueue_many(calls)
    process.run_messages([UUID(job.id) for job in jobs])
    assert sorted(Job.objects.values_list("state", flat=True)) == ["queued", "queued", "succeeded"]
    assert process.shared.read() == []


@pytest.mark.usefixtures("transactional_db")
def test_a_job_that_came_by_two_messages_and_is_tried_again_at_once_is_in_no_ones_way(
    effects: Effects,
) -> None:
    config = WorkerConfig(backend="default", using="default", group_size=1)
    process = JobProcess(config, SharedState())
    with testing.without_redis():
        job = UUID(tasks.fail_at_first.enqueue(str(effects)).id)
        process.run_messages([job, job])
    # The message of its second attempt is another one.
    assert Job.objects.values_list("state", "claims").get() == ("queued", 1)
    assert process.shared.read() == []


@pytest.mark.usefixtures("transactional_db")
def test_a_job_from_the_database_that_is_not_begun_leaves_no_message_in_a_queue_without_a_name(
    redis_client: redis.Redis,
) -> None:
    process = JobProcess(WorkerConfig("default", "default", burst=True), SharedState())
    with testing.without_redis():
        add.enqueue(1, 2)
    process.inline.stop()
    process.step()
    assert Job.objects.get().state == "queued"
    assert list(redis_client.scan_iter("*:")) == []


def longest_wait(effects: Effects, name: str, slow: bool) -> float:
    """Until the last of 15 short jobs begins: from the begin of a job of 5 s, or from the call."""
    log = str(effects)
    wait_until(lambda: unfinished() == 0)
    # The worker learns that the jobs of this queue are short.
    tasks.nap.enqueue_many([(log, "warm", 0)] * 200)
    wait_until(lambda: unfinished() == 0)
    short = [(log, f"{name}-{number}", 0) for number in range(15)]
    before = [*[(log, "warm", 0)] * 5, (log, f"slow-{name}", 5)] if slow else []
    called = time.monotonic()
    tasks.nap.enqueue_many([*before, *short])
    wait_until(lambda: sum(text.startswith(name) for text in effects.texts) == 15, timeout=4)
    # All but the slow one are settled while it goes on.
    wait_until(lambda: unfinished() == slow, timeout=3)
    began = {text: float(at) for text, at in (line.split("@") for line in effects.texts)}
    return max(began[text] for _, text, _ in short) - began.get(f"slow-{name}", called)


def test_a_crash_in_a_batch_charges_what_has_begun_and_nothing_else(
    bgworker: WorkerFactory, effects: Effects
) -> None:
    log = str(effects)
    warm = tasks.nap.enqueue_many([(log, "warm", 0)] * 100)
    before = tasks.nap.enqueue_many([(log, f"before{number}", 0) for number in range(20)])
    killer = tasks.kill_once.enqueue(log)
    after = tasks.nap.enqueue_many([(log, f"after{number}", 0) for number in range(20)])
    bgworker()
    assert wait_for_state(killer, "succeeded").attempt == 2
    wait_until(lambda: unfinished() == 0)
    # What had run and was not settled yet is repeated, once: each run is an attempt.
    runs = Counter(text.partition("@")[0] for text in effects.texts)
    assert all(runs[f"after{number}"] == 1 for number in range(20))
    assert all(runs[f"before{number}"] <= 2 for number in range(20))
    others = Job.objects.filter(pk__in=[job.id for job in (*warm, *before, *after)])
    assert {job.state for job in others} == {"succeeded"}
    attempts = {str(job.args[1]): job.attempt for job in others if job.args[1] != "warm"}
    assert attempts == {text: runs[text] for text in attempts}
    assert set(Attempt.objects.values_list("outcome", flat=True)) == {"crash"}


def test_what_must_not_be_repeated_and_waits_behind_a_crash_is_not_taken_for_begun(
    bgworker: WorkerFactory, effects: Effects
) -> None:
    log = str(effects)
    tasks.nap.enqueue_many([(log, "warm", 0)] * 100)
    killer = tasks.kill_once.enqueue(log)
    careful = [tasks.record_only_once.enqueue(log, f"careful{number}") for number in range(5)]
    bgworker()
    assert wait_for_state(killer, "succeeded").attempt == 2
    for number, job in enumerate(careful):
        assert wait_for_state(job, "succeeded").attempt == 1
        assert sum(text == f"careful{number}" for text in effects.texts) == 1


def test_a_stop_in_a_batch_gives_back_what_has_not_begun(
    bgworker: WorkerFactory, effects: Effects
) -> None:
    worker = bgworker()
    log = str(effects)
    tasks.nap.enqueue_many([(log, "warm", 0)] * 100)
    wait_until(lambda: unfinished() == 0)
    gate = tasks.wait_at_gate.enqueue(log)
    waiting = tasks.nap.enqueue_many([(log, "late", 0)] * 20)
    wait_until(lambda: "begin" in effects.texts)
    worker.send(signal.SIGTERM)
    worker.wait_for("Stopping")
    effects.open_gate()
    assert worker.wait(5) == 0
    assert wait_for_state(gate, "succeeded").attempt == 1
    rows = Job.objects.filter(pk__in=[job.id for job in waiting])
    assert {(job.state, job.attempt) for job in rows} == {("queued", 0)}
    assert "late" not in " ".join(effects.texts)


def test_an_end_leaves_the_time_of_the_kill_for_who_reads_the_slot_just_then() -> None:
    shared, job = SharedState(), clock.new_id()
    shared.popped(job)
    shared.claimed(job, 1)
    shared.running(job, 1, kill_at=7.0)
    shared.claimed(job, 1)
    assert shared.read() == [HeldJob(job, 1, begun=False, kill_at=7.0, running=False)]
    shared.drop(job)
    assert shared.read() == []


def test_a_new_job_in_the_place_of_an_old_one_is_not_killed_for_the_old_ones_time() -> None:
    shared, old, new = SharedState(), clock.new_id(), clock.new_id()
    shared.popped(old)
    shared.running(old, 1, kill_at=7.0)
    shared.drop(old)
    shared.popped(new)
    assert shared.read() == [HeldJob(new, 0, begun=False, kill_at=inf, running=False)]


def test_the_size_of_a_batch_follows_the_recent_run_times() -> None:
    sizer = BatchSizer(budget=0.02, limit=100)
    assert sizer.size("default") == 1
    sizer.ran("default", 0.001)
    assert sizer.size("default") == 20
    assert sizer.size("emails") == 1
    sizer.ran("default", 0.000_01)
    assert 20 < sizer.size("default") < 100
    sizer.ran("default", 5)
    assert sizer.size("default") == 1
    for _ in range(100):
        sizer.ran("default", 0.000_01)
    assert sizer.size("default") == 100
    assert BatchSizer(budget=0.02, limit=1).size("default") == 1


def test_a_batch_whose_time_is_over_begins_no_more_and_what_is_left_is_taken_once() -> None:
    jobs = [Job(task=str(number)) for number in range(4)]
    batch = Round(jobs, budget=0)
    assert batch.begin() is jobs[0]
    run = Run(jobs[0], "default", open=True)
    batch.ended(run)
    assert batch.begin() is None
    assert (batch.take_rest(), batch.take_rest()) == (jobs[1:], [])
    assert (batch.take_done(), batch.take_done()) == ([run], [])
    batch.restore(jobs[1:], [run])
    assert (batch.take_rest(), batch.take_done()) == (jobs[1:], [run])


@pytest.mark.parametrize("budget", [0.0, 0.02])
def test_the_watch_relieves_once_and_only_while_the_batch_is_watched(
    monkeypatch: pytest.MonkeyPatch, budget: float
) -> None:
    relieved: list[Round] = []
    done = threading.Event()

    def relieve(batch: Round) -> None:
        relieved.append(batch)
        done.set()

    settler = JobProcess(WorkerConfig("default", "default"), SharedState()).settler
    watch = OverrunWatch(settler, Prefetched())
    monkeypatch.setattr(watch, "relieve", relieve)
    quick = Round([], budget=60)
    for _ in range(50):
        watch.begin(quick)
        assert watch.end()
    slow = Round([], budget=budget)
    watch.begin(slow)
    assert done.wait(5)
    assert watch.end()
    watch.begin(quick)
    assert watch.end()
    assert not watch.end()
    assert relieved == [slow]
