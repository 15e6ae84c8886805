"""Chains, groups and batches: in which order jobs run, and what they get from each other."""

from __future__ import annotations

from typing import Any

import pytest

from django_bgtasks import RESULT, RESULTS, InvalidArguments, batch, chain, get_batch, group
from django_bgtasks.core.compat import InvalidTask
from django_bgtasks.models import Batch, Job
from django_bgtasks.testing import run_jobs, without_redis
from django_bgtasks.workflows.flow import Workflow
from tests.app.models import Note

from . import tasks

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _without_redis() -> Any:
    with without_redis():
        yield


def notes() -> list[str]:
    """What the tasks wrote, in order."""
    return list(Note.objects.order_by("pk").values_list("text", flat=True))


def confirm_closed() -> None:
    """Nothing is left open, and nothing waits for what has ended."""
    assert not Batch.objects.filter(finished_at=None).exists()
    assert not Job.objects.live().exists()


def test_a_chain_runs_its_steps_one_after_another() -> None:
    run = chain(tasks.note.step("a"), tasks.note.step("b"), tasks.note.step("c")).enqueue()
    assert Job.objects.filter(state="queued").count() == 1
    assert Job.objects.filter(state="blocked", waits_for="gate").count() == 2
    run_jobs()
    assert notes() == ["a", "b", "c"]
    assert run.outcome == "succeeded"
    confirm_closed()


def test_a_step_gets_the_result_of_the_one_before() -> None:
    step = tasks.double.step
    run = chain(step(1), step(RESULT), step(number=RESULT)).enqueue()
    run_jobs()
    assert run.result == 8


def test_a_step_after_a_group_gets_all_results_in_the_order_of_the_group() -> None:
    parts = group(tasks.double.step(number) for number in range(30))
    run = chain(parts, tasks.collect.step(RESULTS)).enqueue()
    run_jobs()
    assert run.result == [[2 * number for number in range(30)]]
    confirm_closed()


def test_results_come_through_nesting_in_order() -> None:
    double = tasks.double.step
    flow = chain(
        group(
            double(1),
            chain(double(2), double(RESULT)),
            group(double(5), chain(double(6))),
            double(7),
        ),
        tasks.collect.step(RESULTS),
    )
    run = flow.enqueue()
    run_jobs()
    assert run.result == [[2, 8, [10, 12], 14]]
    confirm_closed()


def test_a_job_adds_to_a_group_that_comes_after_it() -> None:
    run = chain(tasks.split.step(5), group(name="parts"), tasks.collect.step(RESULTS)).enqueue()
    run_jobs()
    assert run.result == [[0, 2, 4, 6, 8]]
    confirm_closed()


def test_an_empty_group_is_over_at_once() -> None:
    run = chain(tasks.split.step(0), group(name="parts"), tasks.collect.step(RESULTS)).enqueue()
    run_jobs()
    assert run.result == [[]]
    empty = chain(group(), tasks.collect.step(RESULTS)).enqueue()
    run_jobs()
    assert empty.result == [[]]
    alone = group().using(on_complete=tasks.note.step("over")).enqueue()
    run_jobs()
    assert (alone.outcome, notes()[-1]) == ("succeeded", "over")
    confirm_closed()


def test_a_batch_grows_by_its_own_jobs_many_levels_down() -> None:
    with batch("growing", on_success=tasks.note.step("done")) as growing:
        growing.add(tasks.grow.step(6))
    run_jobs()
    assert growing.outcome == "succeeded"
    assert growing.progress().total == 7
    assert notes() == ["done"]
    confirm_closed()


def test_calls_are_enqueued_into_a_batch() -> None:
    with batch("mailing", on_complete=tasks.collect.step(RESULTS)) as mailing:
        tasks.double.using(batch=mailing).enqueue_many([(number,) for number in range(3)])
        tasks.double.using(batch=mailing).enqueue(10)
    run_jobs()
    assert notes() == ["[[0, 2, 4, 20]]"]
    confirm_closed()


def test_results_are_read_page_by_page(monkeypatch: Any) -> None:
    monkeypatch.setattr("django_bgtasks.workflows.results.PAGE", 3)
    parts = group(tasks.double.step(number) for number in range(10))
    run = chain(parts, tasks.sum_results.step()).enqueue()
    run_jobs()
    assert run.result == 90


def test_callbacks_run_once_each_as_the_batch_ends() -> None:
    callbacks = {
        "on_success": tasks.note.step("success"),
        "on_failure": tasks.note.step("failure"),
        "on_complete": tasks.note.step("complete"),
    }
    good = group(tasks.double.step(1), tasks.double.step(2)).using(**callbacks).enqueue()
    run_jobs()
    assert (good.outcome, sorted(notes())) == ("succeeded", ["complete", "success"])
    Note.objects.all().delete()
    bad = group(tasks.fail.step(), tasks.fail.step()).using(**callbacks).enqueue()
    run_jobs()
    assert (bad.outcome, sorted(notes())) == ("failed", ["complete", "failure"])
    confirm_closed()


def test_behind_a_step_that_fails_all_is_skipped() -> None:
    flow = chain(
        tasks.fail.step(),
        tasks.note.step("never"),
        group(tasks.note.step("never"), chain(tasks.note.step("never"))),
        tasks.note.step("never"),
    )
    run = flow.using(on_failure=tasks.note.step("failed")).enqueue()
    run_jobs()
    assert (run.outcome, notes()) == ("failed", ["failed"])
    skipped = Job.objects.filter(state="cancelled")
    assert skipped.count() == 4
    assert set(skipped.values_list("error_code", flat=True)) == {"gate_failed"}
    confirm_closed()


def test_a_failure_deep_within_reaches_the_root() -> None:
    inner = group(chain(tasks.double.step(1), tasks.fail.step()), tasks.double.step(2))
    flow = chain(group(inner, tasks.note.step("beside")), tasks.note.step("never"))
    run = flow.using(on_failure=tasks.note.step("failed")).enqueue()
    run_jobs()
    assert (run.outcome, sorted(notes())) == ("failed", ["beside", "failed"])
    confirm_closed()


def test_a_retry_lets_the_workflow_go_on_and_no_callback_run_twice() -> None:
    flow = chain(
        group(tasks.fail_until_mended.step("a"), tasks.double.step(1)), tasks.note.step("after")
    )
    run = flow.using(
        on_failure=tasks.note.step("failure"),
        on_complete=tasks.note.step("complete"),
        on_success=tasks.note.step("success"),
    ).enqueue()
    run_jobs()
    assert (run.outcome, sorted(notes())) == ("failed", ["complete", "failure"])
    Note.objects.create(text="mended a")
    assert run.retry_failed() == 1
    assert run.outcome == ""
    run_jobs()
    assert run.outcome == "succeeded"
    assert sorted(notes()) == ["after", "complete", "failure", "mended a", "success"]
    confirm_closed()


def test_a_retry_of_an_attempt_does_not_end_the_batch() -> None:
    run = group(tasks.fail_once.step("x")).using(on_failure=tasks.note.step("failure")).enqueue()
    run_jobs()
    assert (run.outcome, notes()) == ("succeeded", ["x"])


def test_a_cancelled_workflow_runs_on_complete_and_no_other_callback() -> None:
    flow = chain(tasks.note.step("a"), group(tasks.note.step("b")), tasks.note.step("c"))
    run = flow.using(
        on_failure=tasks.note.step("failure"),
        on_complete=tasks.note.step("complete"),
        on_success=tasks.note.step("success"),
    ).enqueue()
    assert run.cancel() == 3
    run_jobs()
    assert (run.outcome, notes()) == ("cancelled", ["complete"])
    confirm_closed()


def test_a_cancelled_workflow_can_be_retried_as_a_whole() -> None:
    flow = chain(tasks.note.step("a"), group(tasks.note.step("b")), tasks.note.step("c"))
    run = flow.using(on_success=tasks.note.step("success")).enqueue()
    run.cancel()
    run_jobs()
    assert run.retry_failed() > 0
    run_jobs()
    assert (run.outcome, notes()) == ("succeeded", ["a", "b", "c", "success"])
    confirm_closed()


def test_there_is_one_workflow_of_a_dedup_key_at_a_time() -> None:
    flow = chain(tasks.note.step("a")).using(dedup_key="file:7")
    first, second = flow.enqueue(), flow.enqueue()
    assert second.deduplicated
    assert second.id == first.id
    run_jobs()
    assert not flow.enqueue().deduplicated


@pytest.mark.parametrize(
    "make",
    [
        lambda: chain(tasks.note),
        lambda: group("a"),
        lambda: chain(tasks.note.step("a")).using(on_success=tasks.note),
        lambda: chain(tasks.note.step([RESULT])).enqueue(),
        lambda: chain(tasks.note.step({"$type": "result"})).enqueue(),
        lambda: chain(tasks.note.step(1, 2)).enqueue(),
        lambda: chain(chain(tasks.note.step("a")).using(dedup_key="k")).enqueue(),
    ],
)
def test_what_is_no_workflow_is_refused(make: Any) -> None:
    with pytest.raises((InvalidArguments, TypeError)):
        make()
    assert not Job.objects.exists()


@pytest.mark.parametrize(
    "flow",
    [
        chain(tasks.collect.step(RESULT)),
        group(tasks.collect.step(1), tasks.collect.step(RESULTS)),
        group(tasks.collect.step(RESULT) for _ in range(30)),
    ],
)
def test_a_step_that_follows_none_has_no_result_to_get(flow: Workflow) -> None:
    with pytest.raises(InvalidArguments, match="no step comes before it"):
        flow.enqueue()
    assert not Job.objects.exists()


def test_each_job_of_a_group_gets_the_result_of_the_step_before_the_group() -> None:
    parts = group(tasks.collect.step(RESULT, number) for number in range(30))
    run = chain(tasks.double.step(1), parts).enqueue()
    run_jobs()
    assert run.result == [[2, number] for number in range(30)]


def test_a_workflow_is_found_again_by_its_id() -> None:
    run = chain(tasks.double.step(1), tasks.double.step(RESULT)).enqueue()
    found = get_batch(str(run.id))
    assert (found.progress().total, found.batch.kind) == (2, "chain")
    run_jobs()
    assert (found.outcome, found.result) == ("succeeded", 4)
    with pytest.raises(Batch.DoesNotExist):
        get_batch(Job.objects.latest("pk").pk)


def test_a_workflow_that_is_enqueued_is_no_batch_to_enqueue_into() -> None:
    run = group(tasks.double.step(1)).enqueue()
    with pytest.raises(InvalidTask, match="with batch"):
        tasks.double.using(batch=run)


def test_a_cancel_leaves_callbacks_of_inner_batches_to_their_end() -> None:
    inner = group(tasks.note.step("a")).using(on_complete=tasks.note.step("inner"))
    flow = chain(inner, tasks.note.step("b")).using(on_complete=tasks.note.step("outer"))
    run = flow.enqueue()
    run.cancel()
    run_jobs()
    assert (run.outcome, notes()) == ("cancelled", ["inner", "outer"])
    confirm_closed()
    run.retry_failed()
    run_jobs()
    assert (run.outcome, notes()) == ("succeeded", ["inner", "outer", "a", "b"])


def test_a_cancelled_workflow_that_is_retried_grows_where_it_would_have_grown() -> None:
    flow = chain(tasks.split.step(3), group(name="parts"), tasks.collect.step(RESULTS))
    run = flow.enqueue()
    run.cancel()
    run_jobs()
    assert run.outcome == "cancelled"
    run.retry_failed()
    run_jobs()
    assert (run.outcome, run.result) == ("succeeded", [[0, 2, 4]])
    confirm_closed()


def test_all_that_failed_in_a_group_is_retried_together() -> None:
    members = [tasks.fail_until_mended.step("a") for _ in range(30)]
    inner = chain(tasks.double.step(1), tasks.fail_until_mended.step("a"))
    flow = chain(group(*members, inner), tasks.note.step("after"))
    run = flow.enqueue()
    run_jobs()
    assert run.progress().failed == 31
    Note.objects.create(text="mended a")
    assert run.retry_failed() == 31
    run_jobs()
    assert (run.outcome, notes()) == ("succeeded", ["mended a", "after"])
    confirm_closed()


def test_a_chain_of_thousands_of_steps_is_skipped_and_revived() -> None:
    steps = [tasks.double.step(1) for _ in range(2000)]
    run = chain(tasks.fail_until_mended.step("a"), *steps).enqueue()
    run_jobs()
    assert Job.objects.filter(error_code="gate_failed").count() == 2000
    assert run.retry_failed() == 1
    assert Job.objects.filter(state="blocked").count() == 2000
