"""Rates keep their promises in every interleaving; their twins do not.

The promises: in no period are there more starts than seats, whoever dies or comes late. No two jobs
have one seat. Every job begins in the end, and none waits for its place while it keeps a seat from
the one that has the place. A paused queue keeps neither.
"""

from __future__ import annotations

import pytest

from .rates import Model, Plan, Rules, search
from .search import Counterexample

ONE, RETRIED = Plan(), Plan(retries=1)
LIMITED, LIMITED_RETRIED = Plan(has_lane=True), Plan(has_lane=True, retries=1)
PAUSABLE, PAUSABLE_LIMITED = Plan(is_pausable=True), Plan(has_lane=True, is_pausable=True)
PAUSES = ("pause",)

# What a search visits at least: with fewer states a kind of step is missing.
SIZES = {
    "two seats": (4_600, Model((RETRIED, ONE), seats=2, period=3)),
    "one seat, a longer period": (600, Model((RETRIED, ONE), period=3)),
    "a crash": (1_400, Model((ONE, ONE), faults=1)),
    "a cancel": (2_800, Model((ONE, ONE, ONE), wants=("cancel",), wishes=1)),
    "a place and a seat, and one without a limit": (2_800, Model((LIMITED_RETRIED, LIMITED, ONE))),
    "a place and a seat": (520, Model((LIMITED_RETRIED, LIMITED), wants=("cancel",), wishes=1)),
    "a pause": (540, Model((PAUSABLE_LIMITED, LIMITED), wants=PAUSES, wishes=2)),
    "a pause without a place": (730, Model((PAUSABLE, ONE), wants=PAUSES, wishes=2)),
    "who is too early goes back": (
        2_900,
        Model((RETRIED, ONE), faults=1, rules=Rules(early="goes back")),
    ),
    "three jobs and a crash": (14_000, Model((ONE, ONE, ONE), faults=1)),
    "two crashes": (10_000, Model((RETRIED, ONE), faults=2)),
    "a crash with a place": (1_600, Model((LIMITED_RETRIED, LIMITED), faults=1)),
    "a pause and a crash of two": (
        1,
        Model((PAUSABLE_LIMITED, LIMITED), wants=PAUSES, wishes=2, faults=1),
    ),
}
LONG_SIZES = {
    "a pause and a crash": (
        33_000,
        Model((PAUSABLE_LIMITED, LIMITED, ONE), wants=PAUSES, wishes=2, faults=1),
    ),
    "three jobs of two seats": (47_000, Model((RETRIED, ONE, ONE), seats=2)),
    "two seats and a crash": (212_000, Model((ONE, ONE, ONE), seats=2, faults=1)),
    "three jobs, too early ones go back": (
        26_000,
        Model((RETRIED, ONE, ONE), faults=1, rules=Rules(early="goes back")),
    ),
}

TWINS = {
    "it takes its seat after it has begun": (
        Model((ONE, ONE), faults=1, rules=Rules(takes="after")),
        "2 starts within a period",
    ),
    "the period counts from the admission": (
        Model((ONE, ONE), rules=Rules(takes="admitted")),
        "2 starts within a period",
    ),
    "a crash gives the seat back": (
        Model((ONE, ONE), faults=1, rules=Rules(keeps_seat=False)),
        "2 starts within a period",
    ),
    "no unique pair": (Model((ONE, ONE), rules=Rules(unique=False)), "two jobs have seat 1"),
    "it does not wait for longer than a seat is given ahead": (
        Model((ONE, ONE), rules=Rules(early="begins")),
        "2 starts within a period",
    ),
    "a zombie takes the seat of a job that it has lost": (
        Model((ONE, ONE), faults=1, rules=Rules(asks_claim=False)),
        "goes on without a seat",
    ),
    "the seat comes before the place": (
        Model((LIMITED_RETRIED, LIMITED), rules=Rules(place_first=False)),
        "never runs",
    ),
    "a pause leaves places and seats": (
        Model((PAUSABLE, ONE), wants=PAUSES, wishes=1, rules=Rules(pause_takes=False)),
        "never runs",
    ),
    "a pause leaves the seats of those whose places it takes": (
        Model(
            (PAUSABLE_LIMITED, LIMITED),
            wants=PAUSES,
            wishes=1,
            rules=Rules(pause_takes_seats=False),
        ),
        "never runs",
    ),
}


@pytest.mark.parametrize("name", SIZES)
def test_rates_hold_in_every_interleaving(name: str) -> None:
    states, model = SIZES[name]
    assert search(model) >= states


@pytest.mark.long
@pytest.mark.parametrize("name", LONG_SIZES)
def test_rates_hold_with_more_jobs_and_faults(name: str) -> None:
    states, model = LONG_SIZES[name]
    assert search(model) >= states


@pytest.mark.parametrize("name", TWINS)
def test_a_rate_without_one_of_its_rules_breaks_a_promise(name: str) -> None:
    model, text = TWINS[name]
    with pytest.raises(Counterexample, match=text):
        search(model)
