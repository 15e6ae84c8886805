"""A task that a worker cannot find holds its jobs, visibly, until one can."""

from __future__ import annotations

import html

import pytest
from django.test import Client
from django.urls import reverse

from django_bgtasks import run_job_now
from django_bgtasks.models import Attempt

from . import missing_tasks
from .case import Case
from .unharmed import ended, runs_the_next

pytestmark = pytest.mark.faults
long = pytest.mark.long

WRONG = [
    ("removed", "cannot be imported: "),
    pytest.param("no task any more", "is not a task: decorate the function", marks=long),
    pytest.param("import error", "cannot be imported: No module named 'pillow'", marks=long),
    pytest.param("syntax error", "cannot be imported: invalid syntax", marks=long),
    pytest.param("exit", "cannot be imported: a script, not a module", marks=long),
    ("nul", "cannot be imported: a NUL \ufffd, a lone surrogate ?"),
    pytest.param("unprintable", "cannot be imported: <its __str__ raised ValueError>", marks=long),
    pytest.param("50 MB", "cannot be imported: xxxx", marks=long),
]


@pytest.mark.parametrize(("wrong", "says"), WRONG)
def test_a_job_whose_task_is_missing_is_held_and_told_of_and_runs_after_the_fix(
    case: Case, admin_client: Client, wrong: str, says: str
) -> None:
    case.row("Tasks", f"A task that cannot be found or imported, in {len(WRONG)} ways")
    old = case.worker(env={"BGTASKS_TEST_MISSING": wrong})
    job = case.enqueue(missing_tasks.greet, "Ada")
    case.wait_until(lambda: case.job(job).state == "scheduled")
    row = case.job(job)
    assert f"tests.faults.missing_tasks.greet {says}" in row.error
    assert (row.attempt, Attempt.objects.count()) == (0, 0)
    page = admin_client.get(reverse("admin:django_bgtasks_job_change", args=[job.id]))
    assert row.error in html.unescape(page.content.decode())
    runs_the_next(case, old)
    case.stop(old)
    case.worker()
    run_job_now(job.id)
    done = ended(case, job)
    assert (done.state, done.result, done.attempt, done.error) == ("succeeded", "Hello Ada", 1, "")


@long
def test_a_held_job_runs_after_the_fix_by_itself(case: Case) -> None:
    case.row("Tasks", "A task that is missing during a deploy, and back after it")
    old = case.worker(env={"BGTASKS_TEST_MISSING": "removed"})
    job = case.enqueue(missing_tasks.greet, "Ada")
    case.wait_until(lambda: case.job(job).state == "scheduled")
    case.stop(old)
    with case.recovers(within=35.0):
        case.worker()
        assert ended(case, job, timeout=40).result == "Hello Ada"
