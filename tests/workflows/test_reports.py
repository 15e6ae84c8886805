"""What people have reported of chains, groups and batches elsewhere, tried here.

The reports are named with their project and number.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import transaction

from django_bgtasks import (
    RESULT,
    RESULTS,
    InvalidMove,
    Retry,
    batch,
    cancel_batch,
    cancel_job,
    chain,
    group,
    retry_job,
    task,
)
from django_bgtasks.core import clock
from django_bgtasks.core.outcomes import DeathCause
from django_bgtasks.jobs.actions import delete_jobs
from django_bgtasks.jobs.execute import claim_jobs, run_claimed
from django_bgtasks.models import Batch, Job
from django_bgtasks.testing import run_jobs
from django_bgtasks.worker.maintenance.dead_processes import Death, settle_death
from django_bgtasks.workflows import followers
from tests.app.models import Note

from . import tasks
from .rules import Rows

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_messages")]
DB = "default"
ONCE_MORE = Retry(max_attempts=3, delays=[0], jitter=0)


@task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@task
def lower(text: str) -> str:
    return text.lower()


@task
def repeat(text: str) -> str:
    return text * 3


@task(takes_context=True)
def add_failing_children(context: Any, count: int) -> None:
    context.batch.add(tasks.fail.step() for _ in range(count))


@task(takes_context=True)
def enqueue_a_workflow(context: Any, depth: int) -> None:
    """A workflow of its own, which enqueues another one."""
    if depth:
        inner = group(enqueue_a_workflow.step(depth - 1), tasks.note.step(f"beside {depth}"))
        inner.using(on_complete=tasks.note.step(f"over {depth}")).enqueue()


def notes() -> list[str]:
    """What the tasks wrote, in order."""
    return list(Note.objects.order_by("pk").values_list("text", flat=True))


def run_some(count: int) -> None:
    """Run so many of the queued jobs, one after another."""
    for _ in range(count):
        [first] = Job.objects.filter(state="queued").order_by("pk").values_list("pk", flat=True)[:1]
        [job] = claim_jobs([first], clock.new_id(), DB)
        run_claimed(job, DB)


def confirm_over() -> None:
    """All is at its end, and as it should be."""
    assert not Rows().faults_at_the_end()


# Called too early, too often, or never


def test_a_callback_waits_for_members_that_are_tried_again() -> None:
    """As in celery 2324, where it came before the retries; and sidekiq 5068."""
    members = group(tasks.fail_once.step("a"), tasks.double.step(1))
    chain(members, tasks.note.step("callback")).enqueue()
    run_some(2)
    assert notes() == ["a"]
    run_jobs()
    assert notes() == ["a", "callback"]
    confirm_over()


def test_a_member_that_fails_and_then_succeeds_is_a_success() -> None:
    """As in good_job 1239, where the callback never came."""
    run = group(tasks.fail_once.step("a")).using(
        on_success=tasks.note.step("success"), on_failure=tasks.note.step("failure")
    )
    assert run.enqueue().progress().total == 1
    run_jobs()
    assert notes() == ["a", "success"]
    confirm_over()


def test_a_chain_waits_for_the_one_group_in_it() -> None:
    """As in celery 8182, where a chain of a single group did not."""
    inner = group(tasks.double.step(1), tasks.double.step(2))
    run = chain(chain(inner), tasks.collect.step(RESULTS)).enqueue()
    run_some(1)
    assert notes() == []
    run_jobs()
    assert run.result == [[2, 4]]


def test_a_batch_is_not_over_after_its_first_job() -> None:
    """As in sidekiq 6110, 4685 and 3432."""
    with batch("many", on_complete=tasks.note.step("complete")) as many:
        tasks.double.using(batch=many).enqueue_many([(number,) for number in range(5)])
    run_some(4)
    assert notes() == []
    run_jobs()
    assert notes() == ["complete"]


def test_the_last_member_runs_twice_and_the_callback_once() -> None:
    """As in sidekiq 6852: a worker is stopped hard, and its job is run again; both settle."""
    run = group(tasks.double.step(1)).using(on_complete=tasks.note.step("complete")).enqueue()
    [zombie] = claim_jobs([Job.objects.get(state="queued").pk], clock.new_id(), DB)
    Job.objects.filter(pk=zombie.pk).update(max_attempts=3)
    assert settle_death(Death(zombie.pk, zombie.claims, zombie.worker, DeathCause.UNBEGUN), DB)
    run_jobs()
    assert run_claimed(zombie, DB) is None
    followers.sweep(DB)
    run_jobs()
    assert (run.outcome, notes()) == ("succeeded", ["complete"])


def test_callbacks_that_fail_are_retried_alone() -> None:
    """As in laravel 38139: the last member counted as failed, and after its retry none came."""
    run = group(tasks.note.step("member")).using(on_success=tasks.fail_until_mended.step("cb"))
    handle = run.enqueue()
    run_jobs()
    assert (handle.outcome, Job.objects.get(gate_on="success").state) == ("succeeded", "failed")
    Note.objects.create(text="mended cb")
    retry_job(Job.objects.get(gate_on="success").pk)
    run_jobs()
    assert Job.objects.get(gate_on="success").state == "succeeded"
    assert notes() == ["member", "mended cb"]


def test_a_batch_is_over_whatever_fails_in_it_and_in_whatever_order() -> None:
    """As in laravel 36076, 39562, 44111, 39243 and dramatiq 868: the last callback never came."""
    fail, note = tasks.fail.step, tasks.note.step
    for members in ([fail(), note("a")], [note("a"), fail()], [fail(), fail()]):
        flow = group(members, chain(fail(), note("never")), chain(fail(), note("never")))
        run = flow.using(on_complete=note("complete"), on_failure=note("failure")).enqueue()
        run_jobs()
        assert run.outcome == "failed"
        assert {notes().count(text) for text in ("complete", "failure")} == {1}
        assert "never" not in notes()
        Note.objects.all().delete()
    confirm_over()


def test_a_job_whose_callback_failed_leaves_its_progress_right() -> None:
    """As in laravel 35711 and 36180, where what is pending was counted, and not looked at."""
    run = group(tasks.fail_until_mended.step("a"), tasks.double.step(1)).enqueue()
    run_jobs()
    assert (run.progress().done, run.progress().failed, run.progress().total) == (2, 1, 2)
    for _ in range(2):
        assert run.retry_failed() == 1
        assert (run.progress().done, run.progress().failed) == (1, 0)
        run_jobs()
        assert (run.progress().done, run.progress().failed) == (2, 1)


# Errors that get lost


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(lambda: group(tasks.fail.step()), id="alone"),
        pytest.param(lambda: group(chain(tasks.fail.step(), tasks.double.step(1))), id="chain"),
        pytest.param(
            lambda: group(chain(group(tasks.fail.step()), total.step(RESULTS))), id="chord"
        ),
        pytest.param(
            lambda: group(chain(tasks.double.step(1), group(chain(tasks.fail.step())))), id="deep"
        ),
    ],
)
def test_an_error_in_a_group_reaches_its_on_failure_once_however_deep(header: Any) -> None:
    """As in celery 6220, 9107, 3317, 3709 and 5129."""
    run = chain(header(), tasks.note.step("body")).using(on_failure=tasks.note.step("failure"))
    handle = run.enqueue()
    run_jobs()
    assert (handle.outcome, notes()) == ("failed", ["failure"])
    confirm_over()


def test_nobody_waits_for_ever_for_what_has_failed() -> None:
    """As in celery 6437 and 4207, rq 1436, 1093 and 1224; in hangfire 2584 there were 500."""
    chains = [chain(tasks.fail.step(), *[tasks.double.step(1)] * 500)]
    run = chain(group(chains), tasks.note.step("never")).enqueue()
    run_jobs()
    assert run.wait(0) == "failed"
    assert not Job.objects.live().exists()
    assert Job.objects.filter(error_code="gate_failed").count() == 501


def test_children_that_a_running_job_has_added_and_that_fail_do_not_stop_the_parent() -> None:
    """As in bullmq 3122 and 1333, where it waits for children for ever; and 3587, of those left."""
    with batch("growing", on_complete=tasks.note.step("complete")) as growing:
        growing.add(add_failing_children.step(3))
    run_jobs()
    assert (growing.outcome, notes()) == ("failed", ["complete"])
    assert growing.progress().failed == 3
    confirm_over()


def test_a_failed_member_that_is_deleted_is_not_waited_for() -> None:
    """As in bullmq 1752 and 800."""
    run = chain(group(tasks.fail.step(), tasks.double.step(1)), tasks.note.step("never"))
    handle = run.using(on_complete=tasks.note.step("complete")).enqueue()
    run_some(1)
    failed = Job.objects.get(state="failed")
    delete_jobs({failed.pk: failed.state})
    run_jobs()
    # It is gone, and not forgotten.
    assert (handle.outcome, notes()) == ("failed", ["complete"])


# Cancel and retry


def test_what_follows_a_cancelled_job_does_not_run() -> None:
    """As in rq 1691 and 1902: one is cancelled while it runs, and what depends on it ran."""
    run = chain(tasks.note.step("a"), tasks.note.step("b"), tasks.note.step("c")).enqueue()
    [running] = claim_jobs([Job.objects.get(state="queued").pk], clock.new_id(), DB)
    cancel_job(running.pk)
    running.refresh_from_db()
    run_claimed(running, DB)
    run_jobs()
    assert (run.outcome, notes()) == ("failed", [])
    confirm_over()


def test_a_batch_that_is_cancelled_cancels_what_its_jobs_have_added() -> None:
    """As in celery 4547 and 8460, where a revoked chord runs on."""
    run = chain(tasks.split.step(3), group(name="parts"), tasks.note.step("never")).enqueue()
    run_some(1)
    assert run.cancel() == 4
    run_jobs()
    assert (run.outcome, notes()) == ("cancelled", [])
    assert set(Job.objects.values_list("state", flat=True)) == {"succeeded", "cancelled"}
    confirm_over()


def test_a_job_that_is_retried_after_the_callbacks_lets_its_batch_end_again() -> None:
    """As in good_job 822 and 1450, where on_success never came."""
    flow = group(tasks.fail_until_mended.step("a"), tasks.fail_until_mended.step("b"))
    run = flow.using(on_success=tasks.note.step("success")).enqueue()
    run_jobs()
    first, second = Job.objects.filter(task=tasks.fail_until_mended.module_path).order_by("pk")
    Note.objects.create(text="mended a")
    retry_job(first.pk)
    run_jobs()
    assert (run.outcome, notes()) == ("failed", ["mended a"])
    Note.objects.create(text="mended b")
    retry_job(second.pk)
    run_jobs()
    assert (run.outcome, notes()[-1]) == ("succeeded", "success")
    confirm_over()


def test_what_is_skipped_is_not_run_by_a_retry_before_its_time() -> None:
    """As in rq 2275 and 1404, where a job ran before what it depends on."""
    run = chain(tasks.fail.step(), tasks.note.step("b")).enqueue()
    run_jobs()
    follower = Job.objects.get(error_code="gate_failed")
    with pytest.raises(InvalidMove):
        retry_job(follower.pk)
    assert run.outcome == "failed"
    assert notes() == []


def test_the_jobs_of_a_part_that_is_cancelled_are_asked_and_the_others_run() -> None:
    part = group(tasks.note.step("within")).using(name="part")
    run = group(part, tasks.note.step("beside")).enqueue()
    cancel_batch(Batch.objects.get(name="part").pk)
    run_jobs()
    assert (run.outcome, notes()) == ("failed", ["beside"])
    confirm_over()


# Nesting


def test_groups_and_steps_take_turns_in_a_chain() -> None:
    """As in celery 3585 and 3771, where those behind the second group ran early or twice."""
    note = tasks.note.step
    chain(
        note("1"), group(note("2"), note("2")), note("3"), group(note("4"), note("4")), note("5")
    ).enqueue()
    run_jobs()
    assert notes() == ["1", "2", "2", "3", "4", "4", "5"]
    confirm_over()


def test_chords_within_chords_end() -> None:
    """As in celery 4401, 1662, 5612, 3123 and 3885, one of which has a single task."""
    inner = [
        chain(group(tasks.double.step(1), tasks.double.step(2)), total.step(RESULTS)),
        chain(group(tasks.double.step(3)), total.step(RESULTS)),
        chain(tasks.double.step(5), chain(tasks.double.step(RESULT))),
    ]
    run = chain(group(inner), total.step(RESULTS), tasks.collect.step(RESULT)).enqueue()
    run_jobs()
    assert run.result == [6 + 6 + 20]
    confirm_over()


def test_the_body_of_a_chord_of_chains_with_groups_runs_once_and_last() -> None:
    """As in celery 5947 and 5467."""
    note = tasks.note.step
    parts = [chain(note(f"{name}1"), group(note(f"{name}2"), note(f"{name}2"))) for name in "ab"]
    chain(group(parts), note("body")).enqueue()
    run_jobs()
    assert notes()[-1] == "body"
    assert notes().count("body") == 1
    assert sorted(notes()[:-1]) == ["a1", "a2", "a2", "b1", "b2", "b2"]


def test_the_same_chain_can_be_twice_in_a_group() -> None:
    """As in celery 3066, where the second one got the result of the first, and 3356."""
    same = chain(repeat.step("A"), lower.step(RESULT))
    run = chain(group(same, same), tasks.collect.step(RESULTS), total.step([1])).enqueue()
    run_jobs()
    assert Job.objects.get(task=tasks.collect.module_path).result == [["aaa", "aaa"]]
    assert run.result == 1


def test_results_are_in_the_order_in_which_the_members_were_given() -> None:
    """As in celery 4150, 3549, 4161 and 10191: not in that in which they ended."""
    members = [tasks.double.using(priority=number).step(number) for number in range(12)]
    run = chain(group(members), tasks.collect.step(RESULTS)).enqueue()
    ran = run_jobs()
    assert ran[0].args == [11]
    assert run.result == [[2 * number for number in range(12)]]


def test_a_chain_of_chords_is_as_long_as_its_parts() -> None:
    """As in celery 5000, 3571 and its change 10171: five were 120 MB."""
    sizes = []
    for count in (5, 10):
        Job.objects.all().delete()
        chord = [
            [group(tasks.double.step(n) for n in range(10)), total.step(RESULTS)]
            for _ in range(count)
        ]
        run = chain(*(part for pair in chord for part in pair)).enqueue()
        rows = [{**vars(job), "_state": ""} for job in Job.objects.all()]
        sizes.append(len(json.dumps(rows, default=str)))
    assert sizes[1] < 2.1 * sizes[0]
    run_jobs()
    assert run.result == 90


def test_workflows_that_jobs_enqueue_are_their_own() -> None:
    """As in sidekiq 2154 and dramatiq 369, of batches made within jobs of batches."""
    chain(enqueue_a_workflow.step(3)).enqueue()
    run_jobs()
    assert sorted(notes()) == [f"{what} {n}" for what in ("beside", "over") for n in (1, 2, 3)]
    confirm_over()


# Transactions


def test_a_workflow_of_a_transaction_that_is_rolled_back_was_never_there() -> None:
    """As in hangfire 922, where a part of a large batch was created."""
    flow = chain(group(tasks.double.step(n) for n in range(1100)), tasks.note.step("a"))
    with transaction.atomic():
        flow.enqueue()
        assert Job.objects.count() == 1101
        transaction.set_rollback(True)
    assert (Job.objects.count(), Batch.objects.count()) == (0, 0)


def test_all_jobs_end_before_the_call_that_enqueues_them_returns_and_the_callback_comes() -> None:
    """As in rq 387 and 739, and the question at good_job 712: the last job ends in between."""
    with transaction.atomic():
        with batch("quick", on_complete=tasks.note.step("complete")) as quick:
            quick.add(tasks.double.step(1))
        # Nobody else can see, and so nobody can run, any of it before the commit.
        assert Job.objects.get(state="queued").batch == quick.id
    run_jobs()
    assert notes() == ["complete"]
