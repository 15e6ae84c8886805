"""Settings that change under queued jobs: what nobody knows is held, and harms nobody."""

from __future__ import annotations

import html
import json
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from django.urls import reverse

from django_bgtasks import JobResult
from django_bgtasks.core import clock
from django_bgtasks.models import Job, Worker
from tests.interfaces.commands import run
from tests.workers import WorkerProcess

from . import settings_tasks, tasks
from .case import Case
from .unharmed import ended, runs_the_next

pytestmark = pytest.mark.faults
long = pytest.mark.long
ENTRY = {"BACKEND": "django_bgtasks.backend.RQBackend", "QUEUES": []}
BACK = 20.0
ROW = "TASKS changes under scheduled, queued, retrying and running jobs"


def with_tasks(**tasks: Any) -> dict[str, str]:
    """The environment of a worker with other TASKS."""
    return {"BGTASKS_TEST_TASKS": json.dumps(tasks)}


def enqueue_for(case: Case, backend: str, task: Any, **options: Any) -> JobResult[Any]:
    """Enqueue a job as a site with other TASKS does."""
    with transaction.atomic():
        job = case.enqueue(task, **options)
        Job.objects.filter(pk=job.id).update(backend=backend)
    return job


def left_by(case: Case, worker: WorkerProcess, backend: str) -> dict[str, JobResult[Any]]:
    """A scheduled, a retrying, a running and a queued job of a worker that is then killed."""
    jobs = {"retrying": enqueue_for(case, backend, settings_tasks.fails_first)}
    case.wait_until(lambda: case.job(jobs["retrying"]).state == "scheduled")
    jobs["running"] = enqueue_for(case, backend, tasks.wait_at_gate)
    case.wait_until(lambda: case.effects.of("begin", jobs["running"].id))
    jobs["queued"] = enqueue_for(case, backend, tasks.plain)
    soon = clock.now() + timedelta(seconds=1)
    jobs["scheduled"] = enqueue_for(case, backend, tasks.plain, run_after=soon)
    case.kill(worker)
    case.effects.open_gate()
    Worker.objects.update(last_seen_at=clock.now() - timedelta(minutes=1))
    return jobs


@pytest.mark.long
def test_jobs_from_before_tasks_named_a_backend_run_when_it_does(case: Case) -> None:
    case.row("Settings", ROW)
    jobs = left_by(case, case.worker(env=with_tasks()), "bgtasks")
    worker = case.worker()
    with case.recovers(within=BACK):
        case.wait_final()
    assert {case.job(job).state for job in jobs.values()} == {"succeeded"}
    is_well(case, worker)


def test_jobs_of_a_backend_that_was_removed_are_held_told_of_and_run_when_it_is_back(
    case: Case, admin_client: Client
) -> None:
    case.row("Settings", ROW)
    jobs = left_by(case, case.worker(env=with_tasks(removed=ENTRY)), "removed")
    worker = case.worker()
    with case.recovers(within=BACK):
        case.wait_until(lambda: case.job(jobs["running"]).state == "queued")
    runs_the_next(case, worker)
    states = {name: case.job(job).state for name, job in jobs.items()}
    waiting = dict.fromkeys(("retrying", "scheduled"), "scheduled")
    assert states == {**waiting, **dict.fromkeys(("running", "queued"), "queued")}
    are_told_of(jobs, admin_client)
    is_well(case, worker)
    case.stop(worker)
    case.worker(env=with_tasks(removed=ENTRY))
    with case.recovers(within=BACK):
        case.wait_final()
    assert {case.job(job).state for job in jobs.values()} == {"succeeded"}


def are_told_of(jobs: dict[str, JobResult[Any]], client: Client) -> None:
    """The pages, and `bgstatus`, say that they are held and what to do."""
    text, code = run("bgstatus")
    assert code == 1
    assert "4 jobs are held: TASKS has no backend removed" in text
    assert "bgcancel --backend removed" in text
    listed = client.get(reverse("admin:django_bgtasks_job_changelist"), {"state": "held"})
    assert listed.status_code == 200
    for job in jobs.values():
        url = reverse("admin:django_bgtasks_job_change", args=[job.id])
        assert url in listed.content.decode()
        page = client.get(url)
        assert page.status_code == 200
        assert "TASKS has no backend removed" in html.unescape(page.content.decode())


def is_well(case: Case, worker: WorkerProcess) -> None:
    """Nothing of all this was an error for the worker, and none of its processes has died."""
    assert "Traceback" not in worker.output
    assert "could not" not in worker.output
    assert not Worker.objects.filter(lost_at=None).exclude(processes_lost=0).exists()


@long
def test_jobs_of_a_queue_that_was_removed_are_told_of_and_run_by_who_serves_all(
    case: Case,
) -> None:
    case.row("Settings", "QUEUES loses the queue of jobs that wait")
    job = case.enqueue(tasks.plain, queue_name="uploads")
    Job.objects.update(queue="letters", enqueued_at=clock.now() - timedelta(minutes=5))
    named = case.worker("emails")
    case.wait_until(lambda: Worker.objects.filter(stopped_at=None).exists())
    text, code = run("bgstatus")
    assert code == 1
    assert "Jobs are held in the queue letters, which QUEUES does not have." in text
    case.stop(named)
    case.worker()
    assert ended(case, job).state == "succeeded"


@long
def test_a_worker_leaves_the_jobs_of_another_backend_to_its_workers(case: Case) -> None:
    case.row("Settings", "two backends with a queue of the same name in one ledger")
    both = with_tasks(default=ENTRY, archive=ENTRY)
    job = enqueue_for(case, "archive", tasks.plain)
    own = enqueue_for(case, "default", tasks.plain)
    for backend, done in (("default", [own]), ("archive", [own, job])):
        worker = case.worker("--burst", "--backend", backend, env=both)
        case.may_end.add(worker.pid)
        assert worker.wait(60) == 0
        assert [one for one in (own, job) if case.job(one).is_final] == done
