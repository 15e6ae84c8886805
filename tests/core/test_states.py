"""The one table of moves."""

from __future__ import annotations

import pytest

from django_bgtasks.core.compat import TaskResultStatus
from django_bgtasks.core.errors import InvalidMove
from django_bgtasks.core.states import FINAL, LIVE, STATUS, TRANSITIONS, WAITING, State, refuse

# The diagram of the documents, arrow by arrow.
ARROWS = {
    "unblock": "blocked → queued",
    "promote": "scheduled → queued",
    "postpone": "blocked scheduled queued → scheduled",
    "claim": "queued → running",
    "succeed": "running → succeeded",
    "fail": "running → failed",
    "again": "running → queued",
    "later": "running → scheduled",
    "release": "running → queued",
    "stop": "running → cancelled",
    "cancel": "blocked scheduled queued → cancelled",
    "retry": "failed cancelled → queued",
}


def test_there_are_no_moves_beside_those_of_the_diagram() -> None:
    assert TRANSITIONS.keys() == ARROWS.keys()


@pytest.mark.parametrize("move", ARROWS)
def test_a_move_leads_where_the_diagram_says(move: str) -> None:
    starts, _, end = ARROWS[move].partition(" → ")
    assert TRANSITIONS[move] == (frozenset(starts.split()), end)


def test_only_a_retry_leaves_a_final_state() -> None:
    assert {move for move, (starts, _) in TRANSITIONS.items() if starts & FINAL} == {"retry"}


def test_a_job_that_succeeded_stays_so() -> None:
    assert not [move for move, (starts, _) in TRANSITIONS.items() if State.SUCCEEDED in starts]


def test_only_a_claim_makes_a_job_run() -> None:
    assert [move for move, (_, end) in TRANSITIONS.items() if end == State.RUNNING] == ["claim"]


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
    error = refuse("retry", State.RUNNING, "42")
    assert isinstance(error, InvalidMove)
    assert str(error) == "Job 42 is running: only a job that is cancelled or failed can be retried."
