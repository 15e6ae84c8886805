"""The transitions between the states."""

from __future__ import annotations

import pytest

from django_bgtasks.core.compat import TaskResultStatus
from django_bgtasks.core.errors import InvalidMove
from django_bgtasks.core.states import FINAL, LIVE, STATUS, WAITING, State, Transition, refuse

# The diagram of the documents, arrow by arrow.
ARROWS = {
    "unblock": "blocked → queued",
    "block": "scheduled queued → blocked",
    "skip": "blocked → cancelled",
    "promote": "scheduled → queued",
    "postpone": "blocked scheduled queued → scheduled",
    "claim": "queued → running",
    "succeed": "running → succeeded",
    "fail": "running → failed",
    "claim_blocked": "blocked → running",
    "retry_now": "running → queued",
    "retry_at": "running → scheduled",
    "wait": "running → blocked",
    "release": "running → queued",
    "cancel_running": "running → cancelled",
    "cancel_waiting": "blocked scheduled queued → cancelled",
    "expire": "blocked scheduled queued → cancelled",
    "revive": "cancelled → blocked",
    "retry": "failed cancelled → queued",
    "retry_blocked": "failed cancelled → blocked",
}


def test_there_are_no_transitions_beside_those_of_the_diagram() -> None:
    assert {transition.value for transition in Transition} == ARROWS.keys()


@pytest.mark.parametrize("name", ARROWS)
def test_a_transition_leads_where_the_diagram_says(name: str) -> None:
    starts, _, end = ARROWS[name].partition(" → ")
    transition = Transition[name.upper()]
    assert (set(transition.sources), transition.target) == (set(starts.split()), end)
    assert transition.value == name


def test_only_a_retry_leaves_a_final_state() -> None:
    # A step that was skipped is revived when what it waits for is retried.
    assert [one for one in Transition if FINAL & set(one.sources)] == [
        Transition.REVIVE,
        Transition.RETRY,
        Transition.RETRY_BLOCKED,
    ]


def test_a_job_that_succeeded_stays_so() -> None:
    assert not [one for one in Transition if State.SUCCEEDED in one.sources]


def test_only_a_claim_makes_a_job_run() -> None:
    claims = [Transition.CLAIM, Transition.CLAIM_BLOCKED]
    assert [one for one in Transition if one.target == State.RUNNING] == claims


def test_every_state_is_either_live_or_final() -> None:
    assert set(State) == LIVE | FINAL
    assert not LIVE & FINAL
    assert LIVE - {State.RUNNING} == WAITING


def test_every_state_has_a_status_in_the_tasks_api() -> None:
    assert {state: str(STATUS[state]) for state in State} == {
        "blocked": "READY",
        "scheduled": "READY",
        "queued": "READY",
        "running": "RUNNING",
        "succeeded": "SUCCESSFUL",
        "failed": "FAILED",
        "cancelled": "FAILED",
    }
    assert set(STATUS.values()) == set(TaskResultStatus)


def test_a_refused_move_says_which_job_is_where_and_what_it_would_need() -> None:
    error = refuse(Transition.RETRY, State.RUNNING, "42")
    assert isinstance(error, InvalidMove)
    assert str(error) == "Job 42 is running: only a job that is cancelled or failed can be retried."
