"""A worker that is left in peace: what it runs, says, and how it ends by itself."""

from __future__ import annotations

import os
import re
import subprocess
from datetime import timedelta
from typing import Any

import pytest
import redis
from django.db import transaction
from django.utils import timezone
from pytest_django import Settings

from django_bgtasks.ledger.lifecycle import claim_next
from django_bgtasks.ledger.transitions import next_due, promote
from django_bgtasks.ledger.workers import INLINE_WORKER
from django_bgtasks.models import Job, Worker
from django_bgtasks.transport.queues import mark
from django_bgtasks.worker import job_process
from django_bgtasks.worker.config import WorkerConfig
from django_bgtasks.worker.shared_state import SharedState
from testproject.servers import RedisServer
from tests.app.tasks import add, fail
from tests.jobs import inline_tasks
from tests.jobs.tasks import enqueues_another
from tests.named import namespace
from tests.settings import ISOLATION, STRICTER
from tests.waiting import wait_until
from tests.workers import WorkerFactory

from . import tasks
from .conftest import Effects
from .jobs import row, unfinished, wait_for_state

JOB_LINE = (
    r"job={id} task=tests\.app\.tasks\.{task} queue=default attempt={attempt}/3 "
    r"outcome={outcome} duration=\d+\.\d{{3}}s wait=\d+\.\d{{3}}s{rest}$"
)


def line_of(
    job_id: str, task: str, outcome: str, attempt: int = 1, rest: str = ""
) -> re.Pattern[str]:
    pattern = JOB_LINE.format(id=job_id, task=task, outcome=outcome, attempt=attempt, rest=rest)
    return re.compile(pattern, re.MULTILINE)


def test_two_processes_run_the_jobs_between_them(bgworker: WorkerFactory, effects: Effects) -> None:
    worker = bgworker("--processes", 2)
    first, second = (tasks.wait_at_gate.enqueue(str(effects)) for _ in range(2))
    wait_until(lambda: len(effects.texts) == 2)
    assert len(set(effects.pids)) == 2
    effects.open_gate()
    assert wait_for_state(first, "succeeded").result == "through"
    assert wait_for_state(second, "succeeded").result == "through"
    assert worker.stop() == 0


def test_with_the_mode_inline_a_worker_runs_what_is_for_later_and_what_its_jobs_enqueue(
    bgworker: WorkerFactory,
) -> None:
    due = {"run_after": timezone.now() - timedelta(seconds=1)}
    result = enqueues_another.using(**due).enqueue("child")
    worker = bgworker(env={"BGTASKS_TEST_OPTIONS": '{"mode": "inline"}'})
    parent = wait_for_state(result, "succeeded")
    wait_until(lambda: not unfinished())
    child = Job.objects.exclude(pk=result.id).get()
    assert child.worker == parent.worker
    assert "without Redis" in worker.output


def test_a_worker_beside_and_the_process_that_enqueues_run_a_job_once_between_them(
    bgworker: WorkerFactory, effects: Effects
) -> None:
    """The worker looks into the database all the time, as without Redis."""
    bgworker("--processes", 2, env={"BGTASKS_TEST_OPTIONS": '{"mode": "inline"}'})
    # For the worker: it is at work then.
    wait_for_state(tasks.record.using(inline=False).enqueue(str(effects), "first"), "succeeded")
    inline = tasks.record.using(inline=True)
    for _ in range(20):
        with transaction.atomic():
            inline.enqueue_many([(str(effects), "x")] * 5)
    wait_until(lambda: not unfinished())
    assert len(effects.texts) == 101
    assert not Job.objects.exclude(state="succeeded", claims=1).exists()
    assert str(os.getpid()) in map(str, effects.pids)


@pytest.mark.postgres
def test_a_burst_waits_for_the_due_job_that_somebody_else_is_just_queueing(
    bgworker: WorkerFactory,
) -> None:
    due = add.using(run_after=timezone.now() - timedelta(seconds=1)).enqueue(1, 2)
    with transaction.atomic():
        # As maintenance holds it for a moment.
        Job.objects.select_for_update().get(pk=due.id)
        worker = bgworker("--burst")
        wait_until(Worker.objects.exists)
        with pytest.raises(subprocess.TimeoutExpired):
            worker.wait(2)
    assert worker.wait() == 0
    assert row(due).state == "succeeded"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("moment", ["before the question", "after it"])
def test_a_burst_runs_the_job_that_somebody_else_queues_while_it_looks_for_one(
    moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    due = add.using(run_after=timezone.now() - timedelta(seconds=1)).enqueue(1, 2)
    # As if it were locked: the one who locks it queues it at this moment.
    monkeypatch.setattr(job_process, "promote_jobs", lambda limit, using: 0)

    def claimed(*args: Any) -> Job | None:
        found = claim_next(*args)
        if moment == "before the question":
            promote(1, "default")
        return found

    def asked(using: str) -> Any:
        answer = next_due(using)
        if moment == "after it":
            promote(1, "default")
        return answer

    monkeypatch.setattr(job_process, "claim_next", claimed)
    monkeypatch.setattr(job_process, "next_due", asked)
    config = WorkerConfig("default", "default", queues=("default",), burst=True)
    process = job_process.JobProcess(config, SharedState())
    try:
        while process.step():
            pass
    finally:
        process.fetcher.leave()
    assert row(due).state == "succeeded"


def test_a_job_of_a_worker_can_run_another_one_inline(bgworker: WorkerFactory) -> None:
    results = [
        inline_tasks.runs_its_child_here.enqueue(20),
        inline_tasks.awaits_its_child_here.enqueue(20),
        inline_tasks.runs_its_child_after_its_commit.enqueue(20),
    ]
    # A burst takes whatever it finds queued, and so the job that a call is about to run itself.
    bgworker("--threads", 2)
    wait_until(lambda: Job.objects.filter(state="succeeded").count() == 7)
    assert [row(result).result for result in results] == [41, 80, None]
    assert Job.objects.filter(worker=INLINE_WORKER).count() == 4


def test_each_job_has_one_line_that_says_how_it_went(bgworker: WorkerFactory) -> None:
    good, bad = add.enqueue(1, 2), fail.enqueue("no\nway")
    worker = bgworker("--burst")
    assert worker.wait() == 0
    assert line_of(good.id, "add", "succeeded").search(worker.output)
    assert line_of(bad.id, "fail", "failed", rest=" error=ValueError: no").search(worker.output)
    # Django itself logs the traceback of a failure, besides.
    assert all(worker.output.count(f"job={job.id}") == 1 for job in (good, bad))


def test_the_banner_says_what_it_listens_to_and_no_password(
    settings: Settings, bgworker: WorkerFactory
) -> None:
    with RedisServer(password="open-sesame") as server:
        settings.CACHES = {"default": {**settings.CACHES["default"], "LOCATION": server.url}}
        worker = bgworker("emails", "default", "--processes", 2, fresh=True)
        worker.wait_for("database")
        assert re.search(
            r"^bgworker [0-9a-f-]{36} on \S+: 2 processes$", worker.output, re.MULTILINE
        )
        assert re.search(r"^  queues    emails, default$", worker.output, re.MULTILINE)
        assert re.search(
            rf"^  redis     127\.0\.0\.1:{server.port}/0$", worker.output, re.MULTILINE
        )
        assert re.search(
            r"^  database  (sqlite|postgresql|mysql) \S*test", worker.output, re.MULTILINE
        )
        assert add.enqueue(1, 2).wait(15) == 3
        assert worker.stop() == 0
        assert "open-sesame" not in worker.output


def test_burst_runs_what_is_due_and_leaves_what_is_not(bgworker: WorkerFactory) -> None:
    now = timezone.now()
    due = add.using(run_after=now - timedelta(seconds=1)).enqueue(1, 1)
    later = add.using(run_after=now + timedelta(hours=1)).enqueue(2, 2)
    queued = add.enqueue(3, 3)
    assert bgworker("--burst", "--processes", 2).wait() == 0
    assert [row(job).state for job in (due, later, queued)] == [
        "succeeded",
        "scheduled",
        "succeeded",
    ]


def test_burst_runs_a_job_again_whose_process_died(
    bgworker: WorkerFactory, effects: Effects
) -> None:
    job = tasks.exit_once.enqueue(str(effects))
    assert bgworker("--burst").wait() == 0
    assert row(job).result == "second"


def test_max_jobs_replaces_the_process(bgworker: WorkerFactory, effects: Effects) -> None:
    for number in range(5):
        tasks.record.enqueue(str(effects), str(number))
    worker = bgworker("--max-jobs", 2, "--burst")
    assert worker.wait() == 0
    assert effects.texts == ["0", "1", "2", "3", "4"]
    pids = effects.pids
    assert pids[0] == pids[1] != pids[2] == pids[3] != pids[4]
    assert worker.output.count("has run 2 jobs and is replaced") == 2
    assert "crash" not in worker.output


def test_in_a_lane_that_goes_on_a_process_runs_no_more_than_max_jobs(
    bgworker: WorkerFactory, effects: Effects
) -> None:
    tasks.record_in_turn.enqueue_many([(str(effects), str(number)) for number in range(7)])
    worker = bgworker("--max-jobs", 2, "--burst")
    assert worker.wait() == 0
    assert effects.texts == [str(number) for number in range(7)]
    assert [effects.pids.count(pid) for pid in dict.fromkeys(effects.pids)] == [2, 2, 2, 1]


def test_max_memory_replaces_the_process_after_a_job(
    bgworker: WorkerFactory, effects: Effects
) -> None:
    worker = bgworker("--max-memory", 1)
    for number in range(2):
        wait_for_state(tasks.record.enqueue(str(effects), str(number)), "succeeded")
    assert len(set(effects.pids)) == 2
    assert re.search(r"holds \d+ MiB and is replaced", worker.output)


def test_verbosity_0_says_nothing_about_jobs_that_go_well(
    bgworker: WorkerFactory, redis_client: redis.Redis
) -> None:
    # A Redis without the mark of a worker looks like one that was wiped.
    mark(namespace(), "", redis_client)
    job = add.enqueue(1, 2)
    worker = bgworker("--burst", "--verbosity", 0)
    assert worker.wait() == 0
    assert row(job).state == "succeeded"
    lines = worker.output.splitlines()
    if ISOLATION in STRICTER:
        # There it may warn of what the database refused, and it did again.
        lines = [line for line in lines if " WARNING " not in line]
    assert not lines


def test_a_site_without_work_is_left_with_nothing_unfinished(bgworker: WorkerFactory) -> None:
    add.enqueue_many([(number, number) for number in range(100)])
    assert bgworker("--burst", "--processes", 2).wait() == 0
    assert unfinished() == 0
