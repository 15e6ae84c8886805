"""Workflows inline: the process that enqueues them runs them to their end."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import TestCase

from django_bgtasks import RESULT, RESULTS, batch, chain, group
from django_bgtasks.models import Batch, Job
from django_bgtasks.testing import inline_jobs
from tests.app.models import Note

from . import tasks


@pytest.mark.django_db(transaction=True)
def test_a_workflow_runs_inline_to_its_end() -> None:
    parts = group(tasks.double.step(number) for number in range(3))
    flow = chain(parts, tasks.collect.step(RESULTS)).using(on_complete=tasks.note.step("over"))
    with inline_jobs():
        run = flow.enqueue()
    assert (run.outcome, run.result) == ("succeeded", [[0, 2, 4]])
    assert Note.objects.filter(text="over").exists()


@pytest.mark.django_db(transaction=True)
def test_a_long_chain_runs_inline_without_a_deep_stack() -> None:
    with inline_jobs():
        run = chain(
            tasks.double.step(0), *(tasks.double.step(RESULT) for _ in range(300))
        ).enqueue()
    assert run.outcome == "succeeded"


@pytest.mark.django_db(transaction=True)
def test_a_batch_that_grows_runs_inline() -> None:
    with inline_jobs(), batch(on_complete=tasks.note.step("over")) as growing:
        growing.add(tasks.grow.step(4))
        tasks.double.using(batch=growing).enqueue(1)
    assert (growing.outcome, growing.progress().total) == ("succeeded", 6)
    assert Note.objects.filter(text="over").exists()


@pytest.mark.django_db(transaction=True)
def test_the_exception_of_a_later_step_is_raised_where_a_test_wants_that() -> None:
    with inline_jobs(propagate=True), pytest.raises(ValueError, match="as asked"):
        chain(tasks.double.step(1), tasks.fail.step(), tasks.note.step("never")).enqueue()
    assert Batch.objects.get().outcome == "failed"


@pytest.mark.django_db(transaction=True)
def test_the_mode_inline_runs_a_whole_workflow(settings: Any) -> None:
    backend = settings.TASKS["default"]
    options = {**backend.get("OPTIONS", {}), "mode": "inline"}
    settings.TASKS = {"default": {**backend, "OPTIONS": options}}
    run = chain(tasks.double.step(1), tasks.double.step(RESULT)).enqueue()
    assert (run.outcome, run.result) == ("succeeded", 4)


class InATestCase(TestCase):
    """Nothing is committed: Django runs what is to follow a commit."""

    @inline_jobs()
    def test_a_workflow_runs_in_a_test_that_never_commits(self) -> None:
        """Its later steps are among the callbacks, too."""
        with self.captureOnCommitCallbacks(execute=True):
            chain(tasks.double.step(1), tasks.double.step(RESULT)).enqueue()
        assert Batch.objects.get().outcome == "succeeded"
        assert Job.objects.latest("pk").result == 4
