"""The moves of jobs that no worker holds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import pytest

from django_bgtasks import DuplicateJob, InvalidMove
from django_bgtasks.core import clock
from django_bgtasks.core.outcomes import Outcome
from django_bgtasks.core.states import State, Transition
from django_bgtasks.ledger.lifecycle import insert
from django_bgtasks.ledger.transitions import cancel, next_due, promote, retry, run_now
from django_bgtasks.models import Job
from django_bgtasks.monitoring import queries
from tests.threads import in_threads

from .rows import BROKE, DB, added, in_state, keyed, now, settled

pytestmark = pytest.mark.django_db
FAILED = Outcome(Transition.FAIL, failure=BROKE)
VERBS: dict[str, Callable[..., Any]] = {
    "cancel_waiting": cancel,
    "retry": retry,
    "promote": run_now,
}


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("move", VERBS)
def test_a_move_is_made_from_the_states_of_the_table_and_from_no_other(
    move: str, state: State
) -> None:
    job, transition = in_state(state), Transition[move.upper()]
    if state in transition.sources:
        VERBS[move](job.pk, DB)
        assert now(job).state == transition.target
    elif (move, state) == ("cancel_waiting", State.RUNNING):
        assert cancel(job.pk, DB).state == State.RUNNING
    else:
        with pytest.raises(InvalidMove, match=rf"Job {job.pk} is {state}: only a job that is"):
            VERBS[move](job.pk, DB)
        assert now(job).state == state


@pytest.mark.parametrize("move", VERBS)
def test_a_job_that_is_not_there_is_said_not_to_be(move: str) -> None:
    with pytest.raises(Job.DoesNotExist):
        VERBS[move](uuid4(), DB)


@pytest.mark.parametrize(("move", "state"), [("promote", "scheduled"), ("retry", "cancelled")])
def test_a_job_that_somebody_queues_by_hand_is_held_no_longer(move: str, state: State) -> None:
    job = in_state(State(state))
    Job.objects.filter(pk=job.pk).update(held_reason="task_not_imported")
    VERBS[move](job.pk, DB)
    assert now(job).held_reason == ""


def test_cancelling_a_running_job_asks_its_worker_and_leaves_the_claim() -> None:
    job = in_state(State.RUNNING)
    cancel(job.pk, DB)
    assert now(job).state == "running"
    assert now(job).cancel_requested_at is not None


def test_a_manual_retry_has_at_least_one_more_attempt() -> None:
    spent = settled(FAILED, max_attempts=1)
    fresh = settled(FAILED, max_attempts=5)
    assert (retry(spent.pk, DB).max_attempts, retry(fresh.pk, DB).max_attempts) == (2, 5)


def test_a_manual_retry_forgets_a_cancellation_and_a_time() -> None:
    job = in_state(State.CANCELLED, run_after=clock.now() + timedelta(days=1))
    again = retry(job.pk, DB)
    assert (again.cancel_requested_at, again.finished_at) == (None, None)
    assert is_now(again.run_after)


@pytest.mark.parametrize("again", [retry, run_now])
def test_a_job_that_is_queued_by_hand_has_not_waited_since_it_was_enqueued(again: Any) -> None:
    state = State.FAILED if again is retry else State.SCHEDULED
    job = in_state(state, enqueued_at=clock.now() - timedelta(days=30))
    again(job.pk, DB)
    [depth] = queries.depths(State.QUEUED, DB).values()
    assert depth.number == 1
    assert depth.oldest < 60


def test_a_manual_retry_takes_its_key_again() -> None:
    job = settled(FAILED, keyed())
    retry(job.pk, DB)
    assert not insert(keyed(), DB)


@pytest.mark.parametrize("scope", ["live", "queued", "window"])
def test_a_manual_retry_is_refused_while_another_live_job_holds_its_key(scope: str) -> None:
    job = settled(FAILED, keyed(scope="live"))
    holder = added(keyed(scope=scope))
    with pytest.raises(DuplicateJob) as refusal:
        retry(job.pk, DB)
    assert refusal.value.job_id == holder.pk
    assert f"job {holder.pk}, which is queued, holds its dedup key." in str(refusal.value)
    assert now(job).state == "failed"


def test_a_manual_retry_takes_its_key_from_a_window_that_is_over() -> None:
    job = settled(FAILED, keyed(scope="live"))
    holder = settled(Outcome(Transition.SUCCEED), keyed(scope="window"))
    Job.objects.filter(pk=holder.pk).update(dedup_until=clock.now() - timedelta(seconds=1))
    assert retry(job.pk, DB).state == "queued"
    assert now(holder).dedup_slot is None


def test_a_retried_job_of_an_open_window_keeps_its_own_key() -> None:
    job = settled(FAILED, keyed(scope="window"))
    assert retry(job.pk, DB).dedup_slot == job.dedup_slot


@pytest.mark.django_db(transaction=True)
def test_of_many_who_retry_a_job_one_does() -> None:
    job = settled(FAILED, max_attempts=1)

    def attempt() -> bool:
        try:
            retry(job.pk, DB)
        except InvalidMove:
            return False
        return True

    assert sum(in_threads(*[attempt] * 8)) == 1
    assert now(job).max_attempts == 2


def test_what_is_due_is_queued_oldest_first_and_nothing_else() -> None:
    past = [added(run_after=clock.now() - timedelta(minutes=m)) for m in (1, 3, 2)]
    future = added(run_after=clock.now() + timedelta(minutes=1))
    assert {job.pk for job in promote(2, DB)} == {past[1].pk, past[2].pk}
    assert [job.state for job in promote(9, DB)] == ["queued"]
    assert promote(9, DB) == []
    assert now(future).state == "scheduled"


@pytest.mark.django_db(transaction=True)
def test_two_who_promote_at_once_promote_each_job_once() -> None:
    jobs = {added(run_after=clock.now() - timedelta(seconds=1)).pk for _ in range(40)}
    promoted = in_threads(*[partial(promote, 100, DB)] * 4)
    assert sorted(job.pk for found in promoted for job in found) == sorted(jobs)


def test_the_next_due_time_is_told_in_seconds() -> None:
    assert next_due(DB)[0] is None
    added(run_after=clock.now() + timedelta(seconds=100))
    assert 90 < (next_due(DB)[0] or 0) < 110
    added(run_after=clock.now() - timedelta(seconds=100))
    assert next_due(DB)[0] == 0


def test_a_job_run_now_is_queued_for_now() -> None:
    job = in_state(State.SCHEDULED)
    assert run_now(job.pk, DB).state == "queued"
    assert is_now(now(job).run_after)


def is_now(at: datetime | None) -> bool:
    return at is not None and abs(at - clock.now()) < timedelta(seconds=60)
