"""How a task is called: its limits, coroutines, transactions, its context."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext

from django_bgtasks import InvalidArguments, JobContext, current_job, retry_job
from django_bgtasks.core import clock
from django_bgtasks.jobs.execute import Run, call, run_claimed
from django_bgtasks.ledger import lifecycle
from django_bgtasks.ledger.lifecycle import claim
from django_bgtasks.models import Job
from django_bgtasks.testing import run_jobs
from tests.app.models import Note

from . import tasks

pytestmark = pytest.mark.django_db


def run_one() -> Job:
    [job] = run_jobs()
    return job


def outcomes(job: Job) -> list[str]:
    return list(job.attempts.values_list("outcome", flat=True))


@pytest.mark.parametrize("hanging", [tasks.hang, tasks.ahang])
def test_a_task_that_takes_too_long_gets_a_timeout(hanging: Any) -> None:
    hanging.enqueue()
    job = run_one()
    assert job.error == "JobTimeout: The attempt took longer than its timeout of 0.05 s."
    assert (job.state, outcomes(job)) == ("failed", ["timeout"])


def test_a_timeout_is_retried_as_the_policy_says() -> None:
    tasks.hang_twice.enqueue()
    assert len(run_jobs()) == 2
    assert outcomes(Job.objects.get()) == ["timeout", "timeout"]


def test_a_timeout_error_of_the_task_itself_is_no_timeout_of_the_job() -> None:
    tasks.atimeout_of_its_own.enqueue()
    job = run_one()
    assert (job.error, outcomes(job)) == ("TimeoutError: the provider did not answer", ["failed"])


def test_a_coroutine_runs_and_its_value_is_the_result() -> None:
    tasks.aadd.enqueue(1, 2)
    assert run_one().result == 3


def test_a_coroutine_uses_the_database_of_the_worker() -> None:
    tasks.anote.enqueue("async")
    assert run_one().result == Note.objects.get().pk


def test_a_coroutine_knows_its_job() -> None:
    result = tasks.acontext.enqueue()
    assert run_one().result == [1, result.id, True]


def test_outside_of_a_job_there_is_none() -> None:
    assert current_job() is None


def test_an_atomic_task_commits_its_effects_with_its_success() -> None:
    tasks.atomically.enqueue("kept")
    assert run_one().state == "succeeded"
    assert Note.objects.get().text == "kept"


def test_the_effects_of_an_atomic_task_that_fails_never_happened() -> None:
    tasks.atomically.enqueue("gone", fail=True)
    assert len(run_jobs()) == 2
    assert (Job.objects.get().state, Note.objects.count()) == ("failed", 0)


def test_a_result_that_cannot_be_stored_undoes_an_atomic_task() -> None:
    tasks.atomically_not_json.enqueue("gone")
    assert (run_one().state, Note.objects.count()) == ("failed", 0)


@pytest.mark.django_db(transaction=True)
def test_an_atomic_task_that_rolls_back_by_itself_has_not_succeeded() -> None:
    tasks.atomically_breaks_the_transaction.enqueue("gone")
    [job] = run_jobs()
    assert (job.state, Note.objects.count()) == ("failed", 0)


@pytest.mark.django_db(transaction=True)
def test_an_atomic_task_whose_claim_is_lost_leaves_no_effect() -> None:
    result = tasks.atomically.enqueue("by a zombie")
    job = Job.objects.get(pk=result.id)
    claimed = claim(job.pk, clock.new_id(), "default")
    assert claimed is not None
    Job.objects.update(claims=2)
    assert run_claimed(claimed, "default") is None
    assert (Note.objects.count(), Job.objects.get().state) == (0, "running")


def test_the_progress_of_an_atomic_task_is_written_with_its_effects_and_locks_nothing_before() -> (
    None
):
    tasks.progressing_atomically.enqueue()
    with CaptureQueriesContext(connection) as queries:
        job = run_one()
    assert job.progress == {"done": 3, "total": 3, "message": "row 3"}
    changes = [query["sql"].partition("WHERE")[0] for query in queries]
    assert len([sql for sql in changes if sql[:6] == "UPDATE" and "progress_done" in sql]) == 1


def test_progress_is_written_at_most_twice_a_second_and_at_the_end() -> None:
    tasks.progressing.enqueue(1000)
    job = run_one()
    assert job.progress == {"done": 1000, "total": 1000, "message": "row 1000"}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("task", [tasks.asks_all, tasks.asks_all_async])
def test_a_task_goes_on_when_the_database_answers_nothing_that_it_asks(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, task: Any
) -> None:
    def no_answer(*args: Any) -> Any:
        raise OperationalError("no route to host\nsecond line")

    monkeypatch.setattr(lifecycle, "write_progress", no_answer)
    monkeypatch.setattr(lifecycle, "is_cancelled", no_answer)
    result = task.enqueue()
    job = claim(UUID(result.id), clock.new_id(), "default")
    assert job is not None
    assert call(Run(job, "default", task)) is False
    messages = [text for text in caplog.messages if "The database did not answer" in text]
    text = f"Job {job.pk} ({task.module_path}): The database did not answer (no route to host); "
    assert messages == [f"{text}the task goes on."]


def test_in_a_transaction_the_error_of_a_question_is_the_tasks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_answer(*args: Any) -> Any:
        raise OperationalError("lost")

    monkeypatch.setattr(lifecycle, "write_progress", no_answer)
    tasks.asks_all.enqueue()
    assert run_one().error == "OperationalError: lost"


@pytest.mark.parametrize("step", ["", "\ud800", "a\0", 7, None])
def test_a_step_needs_a_name(step: Any) -> None:
    context = JobContext(Job(pk=clock.new_id()), tasks.asks_all, "default")
    with pytest.raises(InvalidArguments, match="The name of a step "):
        context.step_key(step)


def test_a_step_is_not_repeated_by_the_next_attempt() -> None:
    result = tasks.in_steps.enqueue(True)
    run_jobs()
    first = Note.objects.get()
    assert Job.objects.get().state == "failed"
    retry_job(result.id)
    [job] = run_jobs()
    assert job.state == "succeeded"
    assert job.result is not None
    assert job.result[:2] == [first.pk, result.id]
    assert Note.objects.count() == 1


def test_the_keys_of_a_job_are_the_same_in_every_attempt_and_of_no_other_job() -> None:
    tasks.in_steps.enqueue(False)
    tasks.in_steps.enqueue(False)
    keys = {tuple((job.result or [])[1:]) for job in run_jobs()}
    assert len(keys) == 2


def test_a_task_sees_that_it_was_cancelled() -> None:
    tasks.watchful.enqueue()
    assert run_one().result == [False, True]


def test_a_heartbeat_stops_a_cancelled_task() -> None:
    tasks.stops_when_asked.enqueue()
    job = run_one()
    assert (job.state, outcomes(job)) == ("cancelled", ["cancelled"])


def test_a_heartbeat_stops_a_task_whose_claim_is_lost_and_nothing_is_settled() -> None:
    tasks.loses_its_claim.enqueue()
    job = run_one()
    assert (job.state, job.attempt, outcomes(job)) == ("running", 1, [])
