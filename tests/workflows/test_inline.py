"""Workflows whose jobs run in the process that enqueues them."""

from __future__ import annotations

import pytest

from django_bgtasks import RESULT, RESULTS, chain, group
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
