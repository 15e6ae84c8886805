"""Settling: by the holder of the claim and nobody else."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext

from django_bgtasks import ClaimLost
from django_bgtasks.core import clock
from django_bgtasks.core.messages import Reason
from django_bgtasks.core.outcomes import Outcome, outcome_of_release
from django_bgtasks.core.progress import progress_of
from django_bgtasks.core.states import FINAL, Transition
from django_bgtasks.ledger.connection import retry_until_connected
from django_bgtasks.ledger.lifecycle import (
    apply_outcome,
    claim,
    is_cancelled,
    is_settled,
    settle,
    write_progress,
)
from django_bgtasks.models import Attempt, Job
from tests.statements import statements
from tests.threads import in_threads

from .rows import BROKE, DB, claimed, keyed, now

pytestmark = pytest.mark.django_db
SUCCESS = Outcome(Transition.SUCCEED, result={"a": [1, "ä"]})
FAILURE = Outcome(Transition.FAIL, failure=BROKE)
LATER = Outcome(Transition.RETRY_AT, delay=timedelta(minutes=5), failure=BROKE)
AGAIN = Outcome(Transition.RETRY_NOW, failure=BROKE)
STOP = Outcome(Transition.CANCEL_RUNNING, failure=BROKE)
each_end = pytest.mark.parametrize(
    "end", [SUCCESS, FAILURE, LATER, AGAIN, STOP, outcome_of_release()]
)


@each_end
def test_a_job_is_where_its_settlement_puts_it(end: Outcome) -> None:
    job = claimed()
    settle(job, end, DB)
    row = now(job)
    assert row.state == end.transition.target
    assert (row.finished_at is not None) == (row.state in FINAL)
    assert is_settled(job, end, DB)


def test_a_success_is_one_statement_and_keeps_the_result() -> None:
    job = claimed()
    with CaptureQueriesContext(connection) as queries:
        settle(job, SUCCESS, DB)
    assert len(statements(queries)) == 1
    assert now(job).result == {"a": [1, "ä"]}
    assert not Attempt.objects.exists()


@pytest.mark.parametrize("end", [FAILURE, LATER, AGAIN, STOP])
def test_an_attempt_that_did_not_succeed_leaves_a_row_of_its_own(end: Outcome) -> None:
    job = claimed()
    settle(job, end, DB)
    [attempt] = Attempt.objects.filter(job=job)
    assert (attempt.attempt, attempt.outcome, attempt.worker) == (1, "failed", job.worker)
    assert (attempt.message, attempt.traceback) == ("broke", "Traceback …")
    assert attempt.started_at == job.started_at
    assert now(job).error == "ValueError: broke"


def test_a_retry_with_a_delay_is_scheduled_and_one_without_is_queued() -> None:
    later, again = claimed(), claimed()
    settle(later, LATER, DB)
    settle(again, AGAIN, DB)
    run_after = now(later).run_after
    assert run_after is not None
    assert abs(run_after - clock.now() - timedelta(minutes=5)) < timedelta(minutes=1)
    assert (now(again).state, now(again).attempt) == ("queued", 1)


def test_a_release_costs_no_attempt_and_leaves_no_trace_of_one() -> None:
    job = claimed()
    settle(job, outcome_of_release(Reason("no_transaction")), DB)
    assert (now(job).state, now(job).attempt) == ("queued", 0)
    assert now(job).held_reason == now(job).error_code == "no_transaction"
    assert now(job).error == "Its transaction could not begin."
    assert not Attempt.objects.exists()
    again = claim(job.pk, clock.new_id(), DB)
    assert again is not None
    assert again.attempt == 1


@each_end
def test_a_zombie_that_wakes_after_its_rescue_settles_nothing(end: Outcome) -> None:
    zombie = claimed()
    settle(Job.objects.get(pk=zombie.pk), AGAIN, DB)
    other = claim(zombie.pk, clock.new_id(), DB)
    before, attempts = vars(now(zombie)), Attempt.objects.count()
    with pytest.raises(ClaimLost, match=rf"Attempt 1 of job {zombie.pk} .* no longer holds"):
        settle(zombie, end, DB)
    assert other is not None
    assert _without_state(vars(now(zombie))) == _without_state(before)
    assert Attempt.objects.count() == attempts


@pytest.mark.parametrize("token", [{"claims": 2}, {"worker": clock.new_id()}, {"worker": None}])
def test_the_token_is_the_worker_and_the_claim(token: dict[str, Any]) -> None:
    job = claimed()
    for name, value in token.items():
        setattr(job, name, value)
    with pytest.raises(ClaimLost):
        settle(job, SUCCESS, DB)
    assert now(job).state == "running"


def test_settling_twice_after_a_commit_without_an_answer_is_no_error() -> None:
    job = claimed()
    settle(job, FAILURE, DB)
    settle(job, FAILURE, DB)
    assert Attempt.objects.count() == 1


def test_a_settlement_in_a_transaction_goes_with_it() -> None:
    job = claimed()
    with transaction.atomic():
        apply_outcome(job, SUCCESS, DB)
        transaction.set_rollback(True)
    assert now(job).state == "running"


@each_end
def test_a_live_key_is_held_until_the_job_is_final(end: Outcome) -> None:
    job = claimed(keyed())
    settle(job, end, DB)
    assert (now(job).dedup_slot is None) == (now(job).state in FINAL)


@pytest.mark.django_db(transaction=True)
def test_of_many_who_settle_one_claim_differently_one_is_heard() -> None:
    job = claimed()

    def attempt_to(end: Outcome) -> bool:
        try:
            settle(Job.objects.get(pk=job.pk), end, DB)
        except ClaimLost:
            return False
        return True

    ends = [SUCCESS, FAILURE, AGAIN, STOP]
    answers = in_threads(*(partial(attempt_to, end) for end in ends))
    winners = [end for end, was_heard in zip(ends, answers, strict=True) if was_heard]
    # A reader that came late finds the row of the winner, whose claim is over.
    assert [end.transition.target for end in winners] == [now(job).state]


def test_progress_is_written_by_the_holder_of_the_claim_only() -> None:
    job = claimed()
    assert write_progress(job, progress_of(3, 10, "x" * 300), DB)
    assert now(job).progress == {"done": 3, "total": 10, "message": "x" * 255}
    settle(job, AGAIN, DB)
    assert not write_progress(job, progress_of(4, 10, ""), DB)
    assert is_cancelled(job, DB) is None


def test_a_progress_message_is_made_one_that_any_database_stores() -> None:
    job = claimed()
    assert write_progress(job, progress_of(3, None, "a\0\ud800"), DB)
    assert now(job).progress_message == "a\ufffd?"


@pytest.mark.django_db(transaction=True)
def test_a_write_is_repeated_until_the_database_answers() -> None:
    answers = [OperationalError("away"), OperationalError("away"), 7]

    def write() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert retry_until_connected(write, DB, first_wait=0.001) == 7


def test_in_a_transaction_a_broken_connection_is_the_callers_error() -> None:
    def write() -> None:
        raise OperationalError("away")

    with pytest.raises(OperationalError):
        retry_until_connected(write, DB)


def _without_state(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name != "_state"}
