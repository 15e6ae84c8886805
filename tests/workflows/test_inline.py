"""Workflows inline, by the test kit, of two backends, with hooks and a carried context."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis
from django.utils import translation
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from django_bgtasks import (
    RESULT,
    RESULTS,
    Middleware,
    add_middleware,
    batch,
    chain,
    group,
    remove_middleware,
    task,
)
from django_bgtasks.core.compat import api_signals
from django_bgtasks.models import Batch, Job
from django_bgtasks.testing import inline_jobs, run_jobs, without_redis
from tests.app.models import Note

from . import tasks
from .rules import Rows

pytestmark = pytest.mark.django_db(transaction=True)


@task
def note_language() -> None:
    Note.objects.create(text=translation.get_language() or "")


@task(takes_context=True)
def split_language(context: Any) -> None:
    context.batch["parts"].add(note_language.step())


def notes() -> list[str]:
    return list(Note.objects.order_by("pk").values_list("text", flat=True))


@pytest.fixture
def _mode_inline(settings: Settings, redis_client: redis.Redis) -> Iterator[None]:
    """The site's mode is inline; no message is sent."""
    backend = settings.TASKS["default"]
    options = {**backend.get("OPTIONS", {}), "mode": "inline"}
    settings.TASKS = {"default": {**backend, "OPTIONS": options}}
    yield
    assert redis_client.keys("*") == []


def run_a_workflow() -> None:
    """With steps behind others, growth, groups and callbacks: all of it runs here."""
    flow = chain(
        tasks.split.step(3),
        group(name="parts"),
        tasks.collect.step(RESULTS),
        tasks.collect.step(RESULT),
    )
    run = flow.using(on_success=tasks.note.step("success")).enqueue()
    assert run.outcome == "succeeded"
    assert notes() == ["[[0, 2, 4]]", "[[[0, 2, 4]]]", "success"]
    with batch("growing", on_complete=tasks.note.step("complete")) as growing:
        growing.add(tasks.grow.step(2))
        tasks.double.using(batch=growing).enqueue(1)
        tasks.double.using(batch=growing).enqueue_many([(2,), (3,)])
    assert (growing.outcome, notes()[-1]) == ("succeeded", "complete")
    failing = chain(tasks.fail.step(), tasks.note.step("never"))
    failed = failing.using(on_failure=tasks.note.step("failure")).enqueue()
    assert (failed.outcome, notes()[-1]) == ("failed", "failure")
    assert not Rows().faults_at_the_end()


@pytest.mark.usefixtures("_mode_inline")
def test_a_workflow_of_a_site_in_inline_mode_runs_where_it_is_enqueued() -> None:
    run_a_workflow()


@inline_jobs()
def test_a_workflow_runs_within_inline_jobs() -> None:
    with without_redis():
        run_a_workflow()


@inline_jobs()
def test_a_chain_of_many_steps_runs_inline() -> None:
    """It does not use up Python's stack."""
    with without_redis():
        run = chain([tasks.double.step(1)] * 300).enqueue()
    assert run.outcome == "succeeded"


@inline_jobs()
def test_a_test_case_runs_a_workflow_by_its_commit_callbacks(
    db: None, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    with without_redis(), django_capture_on_commit_callbacks(execute=True):
        run = chain(group(tasks.double.step(2)), tasks.collect.step(RESULTS)).enqueue()
    assert run.result == [[4]]


@pytest.mark.django_db(transaction=False)
def test_a_test_case_runs_a_workflow_by_run_jobs() -> None:
    """In its transaction, which never commits, what follows a commit is done by a sweep."""
    with without_redis():
        run = chain(group(tasks.double.step(2)), tasks.collect.step(RESULTS)).enqueue()
    run_jobs()
    assert run.result == [[4]]


def test_a_workflow_has_steps_of_two_backends(settings: Settings) -> None:
    backend = settings.TASKS["default"]
    settings.TASKS = {"default": backend, "other": backend}
    elsewhere = tasks.double.using(backend="other")
    with without_redis():
        flow = chain(tasks.double.step(1), group(elsewhere.step(2)), tasks.collect.step(RESULTS))
        run = flow.enqueue()
    assert Batch.objects.get(pk=run.id).backend == "default"
    run_jobs()
    assert run.result == [[4]]
    assert set(Job.objects.values_list("backend", flat=True)) == {"default", "other"}


def test_the_exception_of_a_later_step_is_raised_where_a_test_wants_that() -> None:
    with inline_jobs(propagate=True), pytest.raises(ValueError, match="as asked"):
        chain(tasks.double.step(1), tasks.fail.step(), tasks.note.step("never")).enqueue()
    assert Batch.objects.get().outcome == "failed"


class Noting(Middleware):
    """Notes the outcomes of which it is told."""

    def __init__(self) -> None:
        self.enqueued, self.outcomes = 0, dict[str, str]()

    def on_enqueue(self, jobs: Any) -> None:
        """Count them."""
        self.enqueued += len(jobs)

    def on_outcome(self, context: Any, outcome: Any) -> None:
        """Note it."""
        self.outcomes[str(context.job.args)] = outcome.state


def test_middleware_and_signals_are_told_of_steps_that_are_skipped() -> None:
    noting, finished = Noting(), list[str]()

    def on_finished(sender: Any, task_result: Any, **kwargs: Any) -> None:
        finished.append(str(task_result.args))

    add_middleware(noting)
    api_signals.task_finished.connect(on_finished)
    try:
        with without_redis():
            parts = group(tasks.note.step(str(number)) for number in range(30))
            chain(tasks.fail.step(), tasks.note.step("next"), parts).enqueue()
        run_jobs()
    finally:
        api_signals.task_finished.disconnect(on_finished)
        remove_middleware(noting)
    assert noting.enqueued == 32
    assert noting.outcomes.pop("[]") == "failed"
    assert set(noting.outcomes.values()) == {"cancelled"}
    assert len(noting.outcomes) == 31
    assert len(finished) == 32


def test_the_steps_of_a_workflow_have_the_context_of_its_call(settings: Settings) -> None:
    """Those, too, that a job adds while it runs."""
    backend = settings.TASKS["default"]
    carry = {**backend.get("OPTIONS", {}), "carry": ["django_bgtasks.carry.language"]}
    settings.TASKS = {"default": {**backend, "OPTIONS": carry}}
    with without_redis(), translation.override("de"):
        members = group(note_language.step() for _ in range(25))
        flow = chain(split_language.step(), group(name="parts"), note_language.step(), members)
        flow.using(on_complete=note_language.step()).enqueue()
    run_jobs()
    assert notes() == ["de"] * 28
