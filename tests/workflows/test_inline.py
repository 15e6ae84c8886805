"""Workflows inline: the process that enqueues them runs them to their end."""

from __future__ import annotations

from typing import Any

import pytest

from django_bgtasks import RESULT, RESULTS, batch, chain, group
from django_bgtasks.models import Batch, Job
from django_bgtasks.testing import inline_jobs
from tests.app.models import Note

from . import tasks

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_whole_workflow_runs_where_it_is_enqueued() -> None:
    double = tasks.double.step
    flow = chain(group(double(1), chain(double(2), double(RESULT))), tasks.collect.step(RESULTS))
    with inline_jobs():
        run = flow.using(on_complete=tasks.note.step("over")).enqueue()
    assert (run.outcome, run.result) == ("succeeded", [[2, 8]])
    assert Note.objects.filter(text="over").count() == 1
    assert not Job.objects.live().exists()
    assert not Batch.objects.filter(finished_at=None).exists()


def test_what_a_step_adds_runs_there_too() -> None:
    flow = chain(tasks.split.step(4), group(name="parts"), tasks.collect.step(RESULTS))
    with inline_jobs():
        run = flow.enqueue()
    assert run.result == [[0, 2, 4, 6]]


def test_an_empty_workflow_is_over_at_once_there() -> None:
    with inline_jobs():
        run = group().using(on_complete=tasks.note.step("over")).enqueue()
    assert run.outcome == "succeeded"
    assert Note.objects.filter(text="over").exists()


def test_a_failure_is_settled_there_and_skips_what_follows() -> None:
    flow = chain(tasks.fail.step("broke"), tasks.note.step("never"))
    with inline_jobs():
        run = flow.using(on_failure=tasks.note.step("failed")).enqueue()
    assert run.outcome == "failed"
    assert [note.text for note in Note.objects.all()] == ["failed"]


def test_a_long_chain_runs_inline_without_a_deep_stack() -> None:
    with inline_jobs():
        run = chain(
            tasks.double.step(0), *(tasks.double.step(RESULT) for _ in range(300))
        ).enqueue()
    assert run.outcome == "succeeded"


def test_a_batch_that_grows_runs_inline() -> None:
    with inline_jobs(), batch(on_complete=tasks.note.step("over")) as growing:
        growing.add(tasks.grow.step(4))
        tasks.double.using(batch=growing).enqueue(1)
    assert (growing.outcome, growing.progress().total) == ("succeeded", 6)
    assert Note.objects.filter(text="over").exists()


def test_the_exception_of_a_later_step_is_raised_where_a_test_wants_that() -> None:
    with inline_jobs(propagate=True), pytest.raises(ValueError, match="as asked"):
        chain(tasks.double.step(1), tasks.fail.step(), tasks.note.step("never")).enqueue()
    assert Batch.objects.get().outcome == "failed"


def test_the_mode_inline_runs_a_whole_workflow(settings: Any) -> None:
    backend = settings.TASKS["default"]
    options = {**backend.get("OPTIONS", {}), "mode": "inline"}
    settings.TASKS = {"default": {**backend, "OPTIONS": options}}
    run = chain(tasks.double.step(1), tasks.double.step(RESULT)).enqueue()
    assert (run.outcome, run.result) == ("succeeded", 4)
