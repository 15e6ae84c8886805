"""What happens to a workflow when one of its jobs ends in whatever way, or is not as the others."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any
from unittest.mock import patch
from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_bgtasks import (
    RESULT,
    RESULTS,
    BatchClosed,
    ClaimLost,
    DuplicateJob,
    InvalidMove,
    batch,
    cancel_batch,
    cancel_job,
    chain,
    group,
    retry_job,
    run_job_anyway,
    run_job_now,
)
from django_bgtasks.core import clock
from django_bgtasks.core.outcomes import DeathCause
from django_bgtasks.jobs.actions import delete_jobs
from django_bgtasks.jobs.execute import claim_jobs, run_claimed, settle_runs
from django_bgtasks.jobs.expiry import expire_jobs
from django_bgtasks.ledger.prune import prune_batches
from django_bgtasks.models import Batch, Job
from django_bgtasks.testing import run_jobs
from django_bgtasks.worker.maintenance import prune
from django_bgtasks.worker.maintenance.dead_processes import Death, settle_death
from django_bgtasks.workflows import followers
from django_bgtasks.workflows.open_batch import OpenBatch
from django_bgtasks.workflows.tree import insert_elements
from tests.app.models import Note

from . import odd_tasks, tasks
from .rules import Rows

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_messages")]
DB, HOUR = "default", timedelta(hours=1)


def notes() -> list[str]:
    """What the tasks wrote, in order."""
    return list(Note.objects.order_by("pk").values_list("text", flat=True))


def job_of(task: Any) -> Job:
    """The one job of this task."""
    return Job.objects.get(task=task.module_path)


def begun(task: Any) -> Job:
    """The one job of this task, which a worker has claimed."""
    [job] = claim_jobs([job_of(task).pk], clock.new_id(), DB)
    return job


def confirm_over() -> None:
    """All is at its end, and as it should be."""
    assert not Rows().faults_at_the_end()


# A member that does not succeed


def fails() -> None:
    """It raises when it is run."""


def crashes() -> None:
    job = begun(tasks.fail)
    Job.objects.filter(pk=job.pk).update(max_attempts=job.attempt)
    assert settle_death(Death(job.pk, job.claims, job.worker, DeathCause.CRASH), DB)
    assert settle_death(Death(job.pk, job.claims, job.worker, DeathCause.CRASH), DB) is False


def expires() -> None:
    job = job_of(tasks.fail)
    Job.objects.filter(pk=job.pk).update(expires_at=clock.now() - HOUR)
    assert expire_jobs(10, DB) == 1


def is_cancelled() -> None:
    assert cancel_job(job_of(tasks.fail).pk) == "cancelled"


def is_cancelled_while_it_runs() -> None:
    job = begun(tasks.fail)
    assert cancel_job(job.pk) == "requested"
    job.refresh_from_db()
    run_claimed(job, DB)


def is_deleted() -> None:
    job = job_of(tasks.fail)
    assert len(delete_jobs({job.pk: job.state})) == 1


ENDS: list[Callable[[], None]] = [
    fails,
    crashes,
    expires,
    is_cancelled,
    is_cancelled_while_it_runs,
    is_deleted,
]


@pytest.mark.parametrize("end", ENDS)
def test_a_group_with_a_member_that_does_not_succeed_fails_when_all_have_ended(
    end: Callable[[], None],
) -> None:
    """As in bullmq 3362 and 2464, where the parent waits for ever."""
    flow = chain(group(tasks.double.step(1), tasks.fail.step()), tasks.collect.step(RESULTS))
    run = flow.using(
        on_success=tasks.note.step("success"),
        on_failure=tasks.note.step("failure"),
        on_complete=tasks.note.step("complete"),
    ).enqueue()
    end()
    run_jobs()
    assert (run.outcome, sorted(notes())) == ("failed", ["complete", "failure"])
    assert job_of(tasks.collect).error_code == "gate_failed"
    assert not Rows({run.id}).faults_at_the_end()


@pytest.mark.parametrize("end", ENDS)
def test_a_chain_with_a_step_that_does_not_succeed_skips_the_others(
    end: Callable[[], None],
) -> None:
    flow = chain(tasks.fail.step(), tasks.note.step("next"), group(tasks.note.step("behind")))
    run = flow.using(on_complete=tasks.note.step("complete")).enqueue()
    end()
    run_jobs()
    assert (run.outcome, notes()) == ("failed", ["complete"])
    confirm_over()


def test_a_step_that_finds_its_limit_busy_fails_its_workflow() -> None:
    odd_tasks.or_never.enqueue(0)
    flow = chain(odd_tasks.or_never.step(1), tasks.note.step("next"))
    run = flow.using(on_failure=tasks.note.step("failure")).enqueue()
    assert (run.outcome, run.progress().done) == ("failed", 2)
    run_jobs()
    assert notes() == ["failure"]
    confirm_over()


def test_a_follower_can_be_deleted_and_what_is_behind_it_is_skipped() -> None:
    run = chain(tasks.double.step(1), tasks.collect.step(), tasks.note.step("behind")).enqueue()
    follower = job_of(tasks.collect)
    delete_jobs({follower.pk: follower.state})
    run_jobs()
    assert (run.outcome, notes()) == ("failed", [])


def test_a_failure_is_told_when_it_happens_and_once() -> None:
    """And not when the batch has ended, which may be hours later."""
    members = [tasks.fail.step(), tasks.fail.step(), tasks.note.step("still to run")]
    run = group(members).using(on_failure=tasks.note.step("failure")).enqueue()
    first, second = Job.objects.filter(task=tasks.fail.module_path)
    run_claimed(claim_jobs([first.pk], clock.new_id(), DB)[0], DB)
    assert Job.objects.get(gate_on="failure").state == "queued"
    run_claimed(claim_jobs([second.pk], clock.new_id(), DB)[0], DB)
    assert (run.outcome, Job.objects.filter(state="queued").count()) == ("", 2)
    run_jobs()
    assert sorted(notes()) == ["failure", "still to run"]
    confirm_over()


def test_the_callbacks_of_a_part_belong_to_the_whole() -> None:
    """As in celery 6220 and 9107, of errors in chords within others."""
    part = group(tasks.double.step(1)).using(on_success=tasks.fail_until_mended.step("cb"))
    run = chain(part, tasks.collect.step(RESULTS)).using(on_complete=tasks.note.step("over"))
    handle = run.enqueue()
    run_jobs()
    assert (handle.outcome, notes()) == ("failed", ["[[2]]", "over"])
    Note.objects.create(text="mended cb")
    assert handle.retry_failed() == 1
    run_jobs()
    assert handle.outcome == "succeeded"
    confirm_over()


def test_a_group_that_has_not_begun_tells_of_no_failure() -> None:
    """It may be skipped still, and then it has no callbacks."""
    part = group(tasks.collect.step()).using(on_failure=tasks.note.step("failure"))
    for before, told in ((tasks.fail.step(), []), (tasks.double.step(1), ["failure"])):
        run = chain(before, part).enqueue()
        cancel_job(Job.objects.get(task=tasks.collect.module_path, state="blocked").pk)
        assert not Job.objects.filter(task=tasks.note.module_path, state="queued").exists()
        run_jobs()
        assert (run.outcome, notes()) == ("failed", told)
    confirm_over()


# What is empty


@pytest.mark.parametrize(
    "make",
    [
        chain,
        group,
        lambda: group(group(), group()),
        lambda: chain(group(), chain(), group(chain(group()))),
        lambda: group(chain(), tasks.double.step(1), group(group())),
    ],
)
def test_what_is_empty_is_over_at_once(make: Any) -> None:
    """As in celery 5678."""
    run = make().using(on_complete=tasks.note.step("over")).enqueue()
    run_jobs()
    assert (run.outcome, notes()) == ("succeeded", ["over"])
    confirm_over()


def test_an_empty_group_between_steps_gives_an_empty_list() -> None:
    flow = chain(tasks.double.step(1), group(), tasks.collect.step(RESULTS))
    run = flow.enqueue()
    run_jobs()
    assert run.result == [[]]


def test_a_batch_to_which_nothing_was_added_is_over() -> None:
    with batch("empty", on_success=tasks.note.step("over")) as empty:
        pass
    run_jobs()
    assert (empty.outcome, notes()) == ("succeeded", ["over"])
    confirm_over()


# Many


def rows_of(flow: Any) -> int:
    """How many rows a workflow is."""
    before = Job.objects.count() + Batch.objects.count()
    flow.enqueue()
    return Job.objects.count() + Batch.objects.count() - before


def test_rows_grow_with_the_steps_and_not_with_the_nesting() -> None:
    """As in celery 5000 and 6230, where a chord within a chord is copied at each level."""
    flow = group(tasks.double.step(1))
    for _ in range(8):
        flow = group(flow, chain(tasks.double.step(1), group(tasks.double.step(2))))
    # 17 steps; a batch for each group and each chain.
    assert rows_of(flow) == 17 + 9 + 8 + 8


@pytest.mark.parametrize(
    "count",
    [
        pytest.param(2500, id="2,500"),
        pytest.param(45_000, id="45,000", marks=pytest.mark.long),
    ],
)
def test_very_many_members_end_as_one(count: int) -> None:
    """As in celery 3324."""
    with CaptureQueriesContext(connection) as queries:
        flow = chain(
            group(tasks.double.step(number) for number in range(count)), tasks.sum_results.step()
        )
        run = flow.enqueue()
    assert len(queries) < count / 200
    first = Job.objects.filter(state="queued").earliest("pk")
    others = Job.objects.filter(state="queued").exclude(pk=first.pk)
    others.update(state="succeeded", result=1, finished_at=clock.now())
    assert run.progress().done == count - 1
    run_jobs()
    assert (run.outcome, run.result) == ("succeeded", count - 1)
    confirm_over()


def test_a_chain_of_a_thousand_steps_is_skipped_at_once() -> None:
    run = chain(tasks.fail.step(), [tasks.double.step(1)] * 1000).enqueue()
    with CaptureQueriesContext(connection) as queries:
        run_jobs()
    assert len(queries) < 80
    assert run.outcome == "failed"
    assert Job.objects.filter(error_code="gate_failed").count() == 1000
    confirm_over()


# Growth


def test_a_workflow_grows_by_groups_many_levels_down() -> None:
    with batch("growing", on_success=tasks.note.step("done")) as growing:
        growing.add(odd_tasks.grow_groups.step(4))
    run_jobs()
    assert (growing.outcome, notes()) == ("succeeded", ["done"])
    assert growing.progress().total == 9
    assert growing.result == [4, [3, 8, [2, 6, [1, 4, [0, 2]]]]]
    confirm_over()


def test_an_attempt_that_is_rescued_adds_nothing_and_settles_nothing() -> None:
    run = chain(tasks.split.step(3), group(name="parts"), tasks.collect.step(RESULTS)).enqueue()
    zombie = begun(tasks.split)
    assert settle_death(Death(zombie.pk, zombie.claims, zombie.worker, DeathCause.CRASH), DB)
    target = OpenBatch(Batch.objects.get(name="parts"), zombie, insert_elements, DB)
    with pytest.raises(ClaimLost):
        target.add(tasks.double.step(7))
    assert run_claimed(zombie, DB) is None
    assert not Job.objects.filter(task=tasks.double.module_path).exists()
    run_jobs()
    assert run.result == [[0, 2, 4]]
    confirm_over()


def test_nothing_can_be_added_to_what_is_over() -> None:
    with batch("mailing") as mailing:
        mailing.add(tasks.double.step(1))
    with pytest.raises(BatchClosed, match="its `with` block has ended"):
        mailing.add(tasks.double.step(2))
    with pytest.raises(BatchClosed):
        tasks.double.using(batch=mailing).enqueue(3)
    with pytest.raises(BatchClosed):
        tasks.double.using(batch=mailing).enqueue_many([(4,), (5,)])
    assert Job.objects.count() == 1


def test_a_running_job_cannot_add_to_a_group_that_is_cancelled_or_over() -> None:
    flow = group(tasks.split.step(1), group(tasks.double.step(1), name="parts"))
    flow.enqueue()
    job = begun(tasks.split)
    parts = Batch.objects.get(name="parts")
    run_jobs()
    assert Batch.objects.get(pk=parts.pk).outcome == "succeeded"
    with pytest.raises(BatchClosed, match="succeeded"):
        OpenBatch(parts, job, insert_elements, DB).add(tasks.double.step(2))
    run_claimed(job, DB)
    assert job_of(tasks.split).state == "failed"
    confirm_over()


def test_a_job_finds_no_group_of_a_name_that_is_not_there_and_chooses_none_of_two() -> None:
    for flow in (
        group(tasks.split.step(1, "parts")),
        group(tasks.split.step(1, "parts"), chain(group(name="parts")), chain(group(name="parts"))),
    ):
        flow.enqueue()
        run_jobs()
        failed = Job.objects.filter(task=tasks.split.module_path).latest("pk")
        assert "KeyError" in failed.error
    confirm_over()


def test_a_chain_does_not_grow() -> None:
    run = chain(tasks.grow.step(1)).enqueue()
    run_jobs()
    assert run.outcome == "failed"
    assert "A chain does not grow" in job_of(tasks.grow).error


def add_and_raise() -> None:
    """A process that comes to its end within the block."""
    with batch("mailing") as mailing:
        mailing.add(tasks.double.step(1))
        raise LookupError


def test_if_its_block_raises_a_batch_was_never_there() -> None:
    with pytest.raises(LookupError):
        add_and_raise()
    assert not Job.objects.exists()
    assert not Batch.objects.exists()


def test_an_attempt_that_is_repeated_adds_what_has_a_dedup_key_once() -> None:
    with batch("growing") as growing:
        growing.add(odd_tasks.split_twice.step())
    run_jobs()
    # The first three had ended, or were still live, when the second attempt came.
    assert (growing.outcome, growing.progress().total) == ("succeeded", 4)
    confirm_over()


# Options of steps


def test_a_step_whose_dedup_key_is_taken_is_refused_with_the_whole_workflow() -> None:
    odd_tasks.once_each.enqueue(1)
    with pytest.raises(DuplicateJob, match="a step of this workflow"):
        chain(tasks.double.step(1), odd_tasks.once_each.step(1)).enqueue()
    assert (Job.objects.count(), Batch.objects.count()) == (1, 0)


def test_a_skipped_step_frees_its_dedup_key_and_takes_it_again_when_it_is_revived() -> None:
    run = chain(tasks.fail_until_mended.step("a"), odd_tasks.once_each.step(1)).enqueue()
    run_jobs()
    other = odd_tasks.once_each.enqueue(1)
    assert not other.deduplicated
    Note.objects.create(text="mended a")
    with pytest.raises(DuplicateJob):
        run.retry_failed()
    assert run.outcome == "failed"
    run_jobs()
    assert run.retry_failed() == 1
    assert odd_tasks.once_each.enqueue(1).deduplicated
    run_jobs()
    assert run.outcome == "succeeded"
    confirm_over()


def test_a_revived_step_has_time_again() -> None:
    """The retry of a person clears the expiry of the one that failed, and of those behind it."""
    late = tasks.note.using(expires=HOUR).step("late")
    run = chain(tasks.fail_until_mended.step("a"), late).enqueue()
    run_jobs()
    Job.objects.update(expires_at=clock.now() - HOUR)
    Note.objects.create(text="mended a")
    run.retry_failed()
    run_jobs()
    assert (run.outcome, notes()[-1]) == ("succeeded", "late")
    confirm_over()


def test_steps_wait_for_a_place_and_a_start_after_their_gate() -> None:
    one = odd_tasks.one_at_once.step
    run = chain(tasks.double.step(1), group(one(1), one(2), one(3))).enqueue()
    # What waits at its gate has no place yet.
    odd_tasks.one_at_once.enqueue(0)
    assert [*Job.objects.exclude(place=None).values_list("place", flat=True)] == [1]
    run_jobs()
    assert run.result == [1, 2, 3]
    rated = group(odd_tasks.rated.step(1), odd_tasks.rated.step(2))
    chain(tasks.double.step(1), rated).enqueue()
    run_jobs()
    states = Job.objects.filter(task=odd_tasks.rated.module_path).values_list("state", "waits_for")
    assert sorted(states) == [("blocked", "rate"), ("succeeded", "")]


def test_a_sequence_goes_on_in_the_order_in_which_the_steps_were_enqueued() -> None:
    step = odd_tasks.in_order.step
    group(chain(step(1), step(2)), step(3)).enqueue()
    run_jobs()
    assert sorted(notes()) == ["1", "2", "3"]
    confirm_over()


def test_what_a_workflow_says_of_all_its_steps_each_of_them_has() -> None:
    inner = group(tasks.note.step("b")).using(priority=7)
    flow = chain(tasks.note.step("a"), inner, tasks.note.using(priority=1).step("c"))
    flow.using(
        priority=5, queue_name="emails", expires=HOUR, on_complete=tasks.note.step("d")
    ).enqueue()
    rows = {row.args[0]: row for row in Job.objects.all()}
    assert {text: row.priority for text, row in rows.items()} == {"a": 5, "b": 7, "c": 5, "d": 5}
    assert {row.queue for row in rows.values()} == {"emails"}
    assert all(row.expires_at is not None for row in rows.values())


def test_the_owner_of_a_workflow_is_that_of_its_batch(django_user_model: Any) -> None:
    ada = django_user_model.objects.create(username="ada")
    run = chain(odd_tasks.note_owner.step()).using(owner=ada, about=ada).enqueue()
    run_jobs()
    row = Batch.objects.get(pk=run.id)
    assert (row.owner_id, row.about_key) == (ada.pk, str(ada.pk))


def test_results_of_any_type_come_to_the_next_step_as_they_left() -> None:
    step = odd_tasks.tomorrow.step
    flow = chain(
        group(step(date(2026, 3, 1)), chain(step(date(2026, 3, 2)), step(RESULT))),
        odd_tasks.days.step(RESULTS),
    )
    run = flow.enqueue()
    run_jobs()
    assert (notes(), run.result) == (["date date"], {"last": date(2026, 3, 4)})


def test_coroutines_get_results_and_add_to_their_workflow() -> None:
    flow = chain(
        odd_tasks.adouble.step(1),
        odd_tasks.asplit.step(RESULT),
        group(name="parts"),
        tasks.collect.step(RESULTS),
    )
    run = flow.enqueue()
    run_jobs()
    assert run.result == [[0, 2]]
    confirm_over()


def test_what_an_atomic_task_has_added_goes_with_its_transaction() -> None:
    flow = chain(odd_tasks.split_and_fail.step(), group(name="parts"))
    run = flow.enqueue()
    run_jobs()
    assert (run.outcome, Job.objects.count()) == ("failed", 1)
    good = chain(odd_tasks.split_atomically.step(2), group(name="parts")).enqueue()
    run_jobs()
    assert good.result == [0, 2]
    confirm_over()


def test_an_atomic_step_releases_the_next_one_with_its_effect() -> None:
    step = odd_tasks.note_atomically.step
    run = chain(step("a"), group(step("b"), step("c")), step("d")).enqueue()
    run_jobs()
    assert (run.outcome, notes()[0], notes()[-1]) == ("succeeded", "a", "d")
    confirm_over()


# People


@pytest.mark.parametrize("act", [run_job_now, run_job_anyway])
def test_a_step_that_waits_for_the_one_before_it_cannot_run_anyway(act: Any) -> None:
    """What it would get from that is not there."""
    run = chain(tasks.double.step(1), tasks.collect.step(RESULT)).enqueue()
    with pytest.raises(InvalidMove):
        act(job_of(tasks.collect).pk)
    run_jobs()
    assert run.result == [2]


def test_a_skipped_step_is_not_retried_before_what_it_waits_for() -> None:
    run = chain(tasks.fail.step(), tasks.collect.step(RESULT)).enqueue()
    run_jobs()
    with pytest.raises(InvalidMove, match="Retry that one"):
        retry_job(job_of(tasks.collect).pk)
    assert (run.outcome, job_of(tasks.collect).state) == ("failed", "cancelled")
    confirm_over()


def test_a_step_that_was_cancelled_waits_for_the_one_before_it_when_it_is_retried() -> None:
    run = chain(tasks.double.step(1), tasks.collect.step(RESULT)).enqueue()
    cancel_job(job_of(tasks.collect).pk)
    retry_job(job_of(tasks.collect).pk)
    assert job_of(tasks.collect).state == "blocked"
    run_jobs()
    assert run.result == [2]
    confirm_over()


def test_a_cancelled_workflow_reaches_all_its_parts_and_asks_those_that_run() -> None:
    """As in celery 4547 and 8460, and rq 1902."""
    parts = group(tasks.double.step(1), chain(tasks.collect.step(), tasks.note.step("c")))
    run = chain(group(parts, tasks.grow.step(1)), tasks.note.step("d"))
    handle = run.using(on_complete=tasks.note.step("complete")).enqueue()
    running = begun(tasks.grow)
    assert handle.cancel() == 5
    assert handle.outcome == ""
    assert Job.objects.get(pk=running.pk).cancel_requested_at is not None
    target = OpenBatch(Batch.objects.get(pk=str(running.batch)), running, insert_elements, DB)
    with pytest.raises(BatchClosed):
        target.add(tasks.double.step(1))
    # It succeeds before it sees that.
    run_claimed(running, DB)
    run_jobs()
    assert (handle.outcome, notes()) == ("cancelled", ["complete"])
    with pytest.raises(InvalidMove, match="cancelled"):
        handle.cancel()
    confirm_over()


def test_a_part_that_is_cancelled_fails_the_whole_and_is_retried_alone() -> None:
    inner = group(tasks.double.step(1)).using(name="inner")
    run = chain(group(inner, tasks.double.step(2)), tasks.collect.step(RESULTS)).enqueue()
    cancel_batch(Batch.objects.get(name="inner").pk)
    run_jobs()
    assert run.outcome == "failed"
    assert run.retry_failed() == 1
    run_jobs()
    assert (run.outcome, run.result) == ("succeeded", [[[2], 4]])
    confirm_over()


# Crashes between a commit and what follows it


def test_a_sweep_does_what_a_crash_has_left() -> None:
    """A process dies after the commit that ends the last member."""
    flow = chain(group(group(tasks.double.step(1))), tasks.collect.step(RESULTS))
    run = flow.enqueue()
    with patch.object(followers, "_follow_logged"):
        run_claimed(begun(tasks.double), DB)
    assert run.outcome == ""
    assert job_of(tasks.collect).state == "blocked"
    assert followers.sweep(DB) > 0
    run_jobs()
    assert run.result == [[[2]]]
    assert followers.sweep(DB) == 0
    confirm_over()


def test_a_sweep_goes_on_with_a_cancel_that_has_ended_halfway() -> None:
    run = group(tasks.double.step(1), tasks.double.step(2)).enqueue()
    dying = patch.object(followers, "cancel_waiting", side_effect=KeyboardInterrupt)
    with dying, pytest.raises(KeyboardInterrupt):
        run.cancel()
    assert Job.objects.filter(state="queued").count() == 2
    followers.sweep(DB)
    assert (run.outcome, Job.objects.filter(state="cancelled").count()) == ("cancelled", 2)
    confirm_over()


def test_if_one_of_a_settled_group_has_lost_its_claim_what_follows_others_is_sent() -> None:
    """What the settlement has released is known whichever of them it was."""
    flows = [chain(tasks.double.step(n), group(), tasks.note.step(str(n))) for n in (1, 2)]
    handles = [flow.enqueue() for flow in flows]
    queued = list(Job.objects.filter(state="queued").order_by("pk").values_list("pk", flat=True))
    jobs = claim_jobs(queued, clock.new_id(), DB)
    runs = [run_claimed(job, DB, grouped=True) for job in jobs]
    first = jobs[0]
    assert settle_death(Death(first.pk, first.claims, first.worker, DeathCause.CRASH), DB)
    settle_runs([run for run in runs if run], DB)
    # Nobody swept: the empty group behind the second one was looked at by who has opened it.
    last = Job.objects.filter(gate__in=Batch.objects.filter(root=handles[1].id)).get()
    assert last.state == "queued"
    run_jobs()
    assert [handle.outcome for handle in handles] == ["succeeded"] * 2


# Rows that go


@pytest.fixture
def age_all(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """`age_all(days)`: as if all this had ended so many days ago."""
    monkeypatch.setattr(clock, "id_floor", lambda at: UUID(int=2**128 - 1))

    def age(days: int) -> None:
        ago = clock.now() - timedelta(days=days)
        for model in (Job, Batch):
            model._default_manager.exclude(finished_at=None).update(finished_at=ago)

    return age


def test_the_jobs_of_an_open_workflow_are_not_pruned(
    age_all: Callable[[int], None],
) -> None:
    """As in good_job 1387."""
    later = tasks.collect.using(queue_name="emails").step(RESULTS)
    run = chain(group(tasks.double.step(1), group(tasks.double.step(2))), later).enqueue()
    run_jobs(["default"])
    age_all(400)
    prune.run_once(DB)
    assert Job.objects.count() == 3
    run_jobs()
    assert run.result == [[2, [4]]]


def test_the_jobs_of_a_workflow_are_not_pruned_before_its_callbacks_have_ended(
    age_all: Callable[[int], None],
) -> None:
    """They ask for the results of what has ended."""
    later = tasks.collect.using(queue_name="emails").step(RESULTS)
    run = group(tasks.double.step(1), group(tasks.double.step(2))).using(on_success=later).enqueue()
    run_jobs(["default"])
    assert run.outcome == "succeeded"
    age_all(400)
    prune.run_once(DB)
    assert Job.objects.count() == 3
    run_jobs()
    assert notes() == ["[[2, [4]]]"]


def test_a_batch_is_there_as_long_as_a_job_of_its_workflow(
    age_all: Callable[[int], None],
) -> None:
    """One that has failed is kept longer, and can be retried."""
    run = group(chain(tasks.fail_until_mended.step("a"))).enqueue()
    run_jobs()
    age_all(30)
    prune_batches(timedelta(days=7), DB)
    assert Batch.objects.count() == 1 + 1
    Note.objects.create(text="mended a")
    assert run.retry_failed() == 1
    run_jobs()
    assert (run.outcome, run.result) == ("succeeded", ["a"])
    age_all(400)
    prune.run_once(DB)
    prune_batches(timedelta(days=7), DB)
    assert (Job.objects.count(), Batch.objects.count()) == (0, 0)
