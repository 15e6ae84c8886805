"""Inserting a job: what the row holds, and the slot that decides a race."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from django_bgtasks.core import clock
from django_bgtasks.core.outcomes import Outcome
from django_bgtasks.core.states import FINAL, State, Transition, WaitsFor
from django_bgtasks.ledger.lifecycle import (
    holder_of,
    insert,
    insert_calls,
    job_of,
    waiting_in,
)
from django_bgtasks.ledger.transitions import cancel, replace_call
from django_bgtasks.models import Job

from .rows import DB, added, aged, claimed, in_state, keyed, new, now, settled

pytestmark = pytest.mark.django_db


def test_a_job_is_one_statement_and_reads_back_as_it_was_written() -> None:
    job = new(args=[1, "ä", None], kwargs={"a": [1.5, {}]}, priority=-100)
    with CaptureQueriesContext(connection) as queries:
        assert insert(job, DB)
    assert len(queries) == 1
    row = now(job)
    assert (row.args, row.kwargs, row.priority) == ([1, "ä", None], {"a": [1.5, {}]}, -100)
    assert (row.state, row.attempt, row.worker) == ("queued", 0, None)


def test_the_caller_knows_when_the_job_was_enqueued() -> None:
    job = added()
    assert isinstance(job.enqueued_at, datetime)
    assert abs(job.enqueued_at - clock.now()) < timedelta(seconds=60)


def test_a_slot_holds_one_job_and_a_second_insert_writes_nothing() -> None:
    first = added(keyed())
    assert not insert(keyed(), DB)
    assert list(Job.objects.all()) == [first]


@pytest.mark.parametrize("wrong", [{"task": None}, {"timeout": None}, {"state": "succeeded"}])
def test_a_key_hides_no_other_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(DatabaseError), transaction.atomic():
        insert(keyed(**wrong), DB)
    assert not Job.objects.exists()
    assert insert(keyed(), DB)


def test_a_key_belongs_to_its_task() -> None:
    added(keyed("a"))
    assert insert(keyed("b"), DB)


@pytest.mark.parametrize("scope", ["live", "queued"])
@pytest.mark.parametrize("end", [Transition.SUCCEED, Transition.FAIL, Transition.CANCEL_RUNNING])
def test_a_final_job_gives_its_slot_back(scope: str, end: Transition) -> None:
    settled(Outcome(end), keyed(scope=scope))
    assert insert(keyed(scope=scope), DB)


def test_a_cancelled_job_gives_its_slot_back() -> None:
    cancel(added(keyed()).pk, DB)
    assert insert(keyed(), DB)


def test_a_live_scope_holds_its_slot_while_the_job_runs_and_a_queued_scope_does_not() -> None:
    claimed(keyed("a", "live"))
    claimed(keyed("b", "queued"))
    assert not insert(keyed("a", "live"), DB)
    assert insert(keyed("b", "queued"), DB)


def test_a_window_holds_its_slot_beyond_the_end_of_the_job() -> None:
    job = settled(Outcome(Transition.SUCCEED), keyed(scope="window"))
    assert not insert(keyed(scope="window"), DB)
    assert holder_of(job.dedup_slot or "", DB) == job


def test_an_expired_window_of_a_final_job_is_released_by_the_one_who_asks() -> None:
    job = settled(Outcome(Transition.SUCCEED), keyed(scope="window"))
    Job.objects.update(dedup_until=clock.now() - timedelta(seconds=1))
    assert holder_of(job.dedup_slot or "", DB) is None
    assert insert(keyed(scope="window"), DB)


def test_an_expired_window_of_a_live_job_still_holds() -> None:
    job = added(keyed(scope="window"))
    Job.objects.update(dedup_until=clock.now() - timedelta(seconds=1))
    assert holder_of(job.dedup_slot or "", DB) == job


@pytest.mark.parametrize("later", [None, timedelta(hours=1)])
@pytest.mark.parametrize("before", [State.QUEUED, State.SCHEDULED])
def test_a_job_that_waits_takes_the_arguments_and_the_time_of_a_new_call(
    before: State, later: timedelta | None
) -> None:
    first = keyed(args=[1])
    first.run_after = clock.now() + timedelta(days=1) if before == State.SCHEDULED else None
    holder, call = added(first), keyed(args=[2], priority=5, queue="emails")
    call.run_after = clock.now() + later if later else None
    assert replace_call(holder, call, DB)
    row = now(holder)
    assert (row.args, row.priority, row.queue) == ([2], 5, "emails")
    if later or before == State.QUEUED:
        assert row.run_after == call.run_after
    else:
        # It could not begin before: it waits from now on, and not since it was enqueued.
        assert row.run_after == pytest.approx(clock.now(), abs=timedelta(minutes=1))
    assert row.state == (State.SCHEDULED if later else State.QUEUED)


def test_a_job_that_has_started_keeps_its_arguments() -> None:
    holder = claimed(keyed(args=[1]))
    assert not replace_call(holder, keyed(args=[2]), DB)
    assert now(holder).args == [1]


def test_many_jobs_are_there_together() -> None:
    first = new(priority=7, max_attempts=3, owner_id=None)
    calls: list[Any] = [(clock.new_id(), [n, "ä\\'"], {"k": None}) for n in range(250)]
    insert_calls(first, calls, DB)
    rows = Job.objects.order_by("id")
    assert [(job.pk, job.args, job.kwargs) for job in rows] == calls
    assert {(job.priority, job.max_attempts, job.queue) for job in rows} == {(7, 3, "default")}
    assert isinstance(rows[0].enqueued_at, datetime)
    assert job_of(first, calls[7]).args == [7, "ä\\'"]


def test_what_waits_is_counted_up_to_the_limit_only() -> None:
    for state in State:
        in_state(state)
    in_state(State.QUEUED, queue="emails")
    in_state(State.QUEUED, backend="archive")
    assert waiting_in("default", "default", 100, DB) == 3
    assert waiting_in("default", "default", 2, DB) == 2


@pytest.mark.parametrize("state", State)
def test_the_database_itself_refuses_a_final_job_without_an_end(state: State) -> None:
    """And a live one with an end: `finished_at` is set if and only if the state is final."""
    job = in_state(state)
    wrong = None if state in FINAL else clock.now()
    with pytest.raises(IntegrityError), transaction.atomic():
        Job.objects.filter(pk=job.pk).update(finished_at=wrong)


@pytest.mark.parametrize("state", State)
def test_the_database_itself_refuses_a_job_that_waits_for_something_unless_it_is_blocked(
    state: State,
) -> None:
    """And a blocked one that waits for nothing."""
    job = in_state(state)
    wrong = "" if state == State.BLOCKED else WaitsFor.LANE
    with pytest.raises(IntegrityError), transaction.atomic():
        Job.objects.filter(pk=job.pk).update(waits_for=wrong)


def test_the_database_itself_refuses_an_attempt_below_zero() -> None:
    job = added()
    with pytest.raises(DatabaseError), transaction.atomic():
        Job.objects.filter(pk=job.pk).update(attempt=F("attempt") - 1)


@pytest.mark.parametrize("state", State)
def test_what_the_database_takes_or_refuses_a_validation_of_the_model_does_too(
    state: State,
) -> None:
    job = in_state(state)
    job.validate_constraints()
    job.finished_at = None if state in FINAL else clock.now()
    with pytest.raises(ValidationError, match="bgtasks_job_state_agrees"):
        job.validate_constraints()
    job.refresh_from_db()
    job.waits_for = "" if state == State.BLOCKED else WaitsFor.LANE
    with pytest.raises(ValidationError, match="bgtasks_job_state_agrees"):
        job.validate_constraints()


def test_an_aged_job_sorts_where_its_time_puts_it() -> None:
    young = added()
    old = aged(added(), timedelta(days=3))
    assert list(Job.objects.order_by("id")) == [old, young]
