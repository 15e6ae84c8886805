"""Limits and sequences keep their promises in every interleaving; their twins do not.

The promises: a place has one holder. At most N jobs hold one as soon as no more do, whatever N is
set to, and nobody goes on without a place but who is run anyway. In a sequence no job begins before
an earlier one is over, or was overtaken as its mode or a person says. When all processes are at
rest nobody waits while a place is free; after a crash, or after a transaction was rolled back that
had locked a row, or behind one with a smaller N, as soon as a sweep has come. Who does not want to
wait is cancelled, at the next sweep at the latest, and only where all places were taken. A job that
waits is admitted once, no more, and every history ends.
"""

from __future__ import annotations

from typing import Any

import pytest

from .lane_state import Model, Plan, Rules
from .lanes import search
from .search import Counterexample

# Where others come between: one that runs already, and those that are enqueued or wait.
HOLDER, ONE = Plan(runs_at=1), Plan()
OF_TWO, WAITS_OF_TWO = Plan(at_once=2), Plan(at_once=2, waits=True)
TWO_HOLDERS = (Plan(at_once=2, runs_at=1), Plan(at_once=2, runs_at=2))
HOLDS, PASSES, SKIPS = Plan("hold"), Plan("pass"), Plan("skip")
FIRST_HOLDS, FIRST_PASSES = Plan("hold", runs_at=1), Plan("pass", runs_at=1)
WAITS = Plan(waits=True)
SKIPS_FIRST = Plan("skip", runs_at=1)
PAUSABLE, PAUSABLE_PASSES = Plan(is_pausable=True), Plan("pass", is_pausable=True)

ENDS = ("succeeds", "fails")
LATER = ("succeeds", "retries later")
RETRIES = ("succeeds", "retries")
ALL = ("succeeds", "fails", "is cancelled", "retries", "retries later")


def people(*wants: str, wishes: int = 1) -> dict[str, Any]:
    return {"wants": wants, "wishes": wishes}


# A group of two runs, and as many wait as two statements can lock.
GROUP = (HOLDER, HOLDER._replace(lane=1), *[Plan(lane=lane, waits=True) for lane in (0, 1, 0, 1)])

# Two numbers are freed at once, and the second is above the N of the second that waits.
THREE_HOLDERS = tuple(Plan(at_once=3, runs_at=place) for place in (1, 3, 2))
FREED_THREE = (*THREE_HOLDERS, Plan(at_once=3, waits=True), WAITS_OF_TWO)


# What a search visits at least: with fewer states a kind of step is missing.
SIZES = {
    "one place": (830, Model((ONE, ONE, ONE))),
    "two places": (1_900, Model((TWO_HOLDERS[0], OF_TWO, OF_TWO))),
    "two places, the freed number is not preferred": (
        1_900,
        Model((TWO_HOLDERS[0], OF_TWO, OF_TWO), rules=Rules(prefers=False)),
    ),
    "one place, and nobody hands it on": (410, Model((ONE, ONE, ONE), rules=Rules(hands_on=False))),
    "a sequence, and nobody hands its place on": (
        2_500,
        Model((FIRST_PASSES, PASSES, PASSES), LATER, rules=Rules(hands_on=False)),
    ),
    "each outcome": (1_500, Model((HOLDER, ONE), ALL)),
    "a crash": (610, Model((HOLDER, ONE), ENDS, faults=1)),
    "a crash, two wait": (3_600, Model((HOLDER, ONE, ONE), faults=1)),
    "N is changed": (3_200, Model((*TWO_HOLDERS, WAITS_OF_TWO), overrides=(1, 2), wishes=2)),
    "N is zero for a while": (500, Model((HOLDER, ONE), overrides=(0, 1), wishes=2)),
    "one that waits is cancelled": (4_100, Model((HOLDER, ONE, ONE), **people("cancel"))),
    "a sweep beside all": (1_900, Model((HOLDER, ONE, ONE), **people("sweep"))),
    "who does not wait": (1_700, Model((SKIPS_FIRST, SKIPS), **people("sweep", "cancel"))),
    "a sequence that holds": (
        8_300,
        Model((FIRST_HOLDS, HOLDS), ALL, **people("retry", "release", "cancel", "anyway")),
    ),
    "a sequence that goes on": (4_200, Model((FIRST_PASSES, PASSES, PASSES), LATER)),
    "a sequence, slow statements": (5_400, Model((FIRST_PASSES, PASSES, PASSES), apart=True)),
    "run anyway": (3_400, Model((HOLDER, ONE, ONE), **people("anyway"))),
    "a pause": (1_500, Model((HOLDER, PAUSABLE), RETRIES, **people("pause", wishes=2))),
    "a sequence is paused": (
        1_000,
        Model((FIRST_PASSES, PAUSABLE_PASSES), RETRIES, **people("pause", wishes=2)),
    ),
    "two lanes of a group": (490, Model(GROUP, group=(0, 1), **people("sweep"))),
    "two lanes of a group, and nobody hands on": (
        2_900,
        Model(GROUP, group=(0, 1), any_order=True, rules=Rules(hands_on=False), **people("sweep")),
    ),
    "slow statements, and a crash": (2_500, Model((HOLDER, WAITS, ONE), apart=True, faults=1)),
    "slow statements of two places": (180, Model((*TWO_HOLDERS, WAITS_OF_TWO), apart=True)),
    "slow statements, and one more of two places": (
        5_800,
        Model((*TWO_HOLDERS, WAITS_OF_TWO, OF_TWO), apart=True),
    ),
    "slow statements, and N is raised to two": (
        670,
        Model((HOLDER, WAITS, WAITS), apart=True, overrides=(2,), wishes=1),
    ),
    "slow statements, and N is lowered": (
        2_700,
        Model((*TWO_HOLDERS, WAITS_OF_TWO), apart=True, overrides=(1,), wishes=1),
    ),
    "slow statements, and who is next is cancelled": (
        4_900,
        Model((HOLDER, WAITS, ONE), apart=True, **people("cancel")),
    ),
    "slow statements, and the next one is run anyway": (
        5_600,
        Model((HOLDER, WAITS, ONE), apart=True, **people("anyway")),
    ),
    "slow statements, who does not wait": (350, Model((SKIPS_FIRST, SKIPS), apart=True)),
    "who does not wait, and one behind it": (1_100, Model((SKIPS_FIRST, SKIPS, ONE))),
    "numbers above the N of some": (1_500, Model(FREED_THREE, group=(0, 1))),
    "a sequence and a limit of one key": (1_200, Model((FIRST_PASSES, Plan(at_once=3), PASSES))),
    "each outcome of three": (1_600, Model((HOLDER, WAITS, WAITS), ("fails", "retries later"))),
    "a sequence that holds, of three": (
        3_400,
        Model((FIRST_HOLDS, HOLDS, HOLDS), ENDS, **people("retry", "release")),
    ),
    "a pause of three": (1_000, Model((HOLDER, PAUSABLE, ONE), **people("pause"))),
    "limits of one key": (2_100, Model((HOLDER, Plan(at_once=3), Plan(at_once=2)))),
}
LONG_SIZES = {
    "slow statements, and N is raised": (
        9_900,
        Model((HOLDER, WAITS, ONE), apart=True, overrides=(2,), wishes=1),
    ),
    "slow statements, and a pause": (
        24_000,
        Model((HOLDER, PAUSABLE), RETRIES, apart=True, **people("pause", wishes=2)),
    ),
    "three of two places": (8_200, Model((*TWO_HOLDERS, OF_TWO, OF_TWO))),
    "two places of three, slow statements": (
        40_000,
        Model((*TWO_HOLDERS, WAITS_OF_TWO, WAITS_OF_TWO, OF_TWO), apart=True),
    ),
    "two places, slow statements": (36_000, Model((TWO_HOLDERS[0], OF_TWO, OF_TWO), apart=True)),
    "each outcome and a crash": (18_000, Model((HOLDER, ONE), ALL, faults=1)),
    "two crashes": (23_000, Model((HOLDER, ONE, ONE), faults=2)),
    "N is changed": (25_000, Model((*TWO_HOLDERS, OF_TWO), overrides=(1, 2), wishes=3)),
    "N is changed, and a crash": (
        56_000,
        Model((*TWO_HOLDERS, WAITS_OF_TWO), overrides=(1, 2), wishes=2, faults=1),
    ),
    "N is lowered below a held number": (
        140_000,
        Model(
            (*THREE_HOLDERS, Plan(at_once=3), Plan(at_once=3, waits=True)),
            overrides=(2,),
            wishes=1,
        ),
    ),
    "who does not wait, and is retried": (30_000, Model((SKIPS_FIRST, SKIPS), LATER)),
    "a sequence that holds, of three, and two wishes": (
        23_000,
        Model((FIRST_HOLDS, HOLDS, HOLDS), ENDS, **people("retry", "release", wishes=2)),
    ),
    "a sequence that holds, and a crash": (
        12_000,
        Model((FIRST_HOLDS, HOLDS), ENDS, faults=1, **people("retry", "release", wishes=2)),
    ),
    "a sequence that goes on, and a crash": (
        22_000,
        Model((FIRST_PASSES, PASSES), LATER, faults=1, **people("cancel")),
    ),
}

TWINS = {
    "it looks before its commit": (Model((HOLDER, ONE), rules=Rules(looks="before")), "is stuck"),
    "no sweep for one that stood behind one with a smaller N": (
        Model((HOLDER, Plan(), Plan(at_once=3)), rules=Rules(sweeps=False)),
        "is stuck",
    ),
    "who runs one anyway does not look": (
        Model((HOLDER, WAITS, WAITS), rules=Rules(anyway_looks=False), **people("anyway")),
        "is stuck",
    ),
    "who cancels one as busy does not look": (
        Model((HOLDER, SKIPS, ONE), rules=Rules(busy_looks=False)),
        "is stuck",
    ),
    "who resumes a queue looks at the lanes of before": (
        Model((PAUSABLE,), rules=Rules(resumes="before"), **people("pause", wishes=2)),
        "is stuck",
    ),
    "it gives up when the index refuses it": (
        Model((*TWO_HOLDERS[:1], OF_TWO, OF_TWO), rules=Rules(tries_again=False)),
        "is stuck",
    ),
    "no unique index": (Model((ONE, ONE), rules=Rules(unique=False)), "two holders of one place"),
    "a row is not asked whether it still waits": (
        Model((ONE, ONE), apart=True, rules=Rules(asks_state=False)),
        "is admitted while it is",
    ),
    "a number above a lowered N is handed on": (
        Model(
            (*TWO_HOLDERS, OF_TWO, WAITS_OF_TWO),
            overrides=(1,),
            wishes=1,
            rules=Rules(within_n=False),
        ),
        "2 are admitted where 1 may be",
    ),
    "those above a lowered N are not counted": (
        Model((*TWO_HOLDERS, OF_TWO), overrides=(1,), wishes=1, rules=Rules(counts_all=False)),
        "2 are admitted where 1 may be",
    ),
    "a freed number is preferred while one above a lowered N is held": (
        Model(
            (*THREE_HOLDERS, Plan(at_once=3), Plan(at_once=3, waits=True)),
            overrides=(2,),
            wishes=1,
            rules=Rules(same_numbers=False),
        ),
        "3 are admitted where 2 may be",
    ),
    "a number is handed on while one above a lowered N is held": (
        Model(
            (*THREE_HOLDERS, Plan(at_once=3), Plan(at_once=3, waits=True)),
            overrides=(2,),
            wishes=1,
            rules=Rules(asks_highest=False),
        ),
        "3 are admitted where 2 may be",
    ),
    "a place is handed on to another than the first": (
        Model((FIRST_PASSES, PASSES, PASSES), rules=Rules(hands_on_to_first=False)),
        "goes before",
    ),
    "it does not look again where nobody has its number": (
        Model((HOLDER, ONE), apart=True, rules=Rules(looks_again=False)),
        "is stuck",
    ),
    "who finds a row locked gives up": (
        Model((TWO_HOLDERS[0], OF_TWO, OF_TWO), rules=Rules(waits=False)),
        "is stuck",
    ),
    "it hands on though its claim is lost": (
        Model((HOLDER, ONE), faults=1, apart=True, rules=Rules(fences=False)),
        "goes on without a place|while it is|two holders",
    ),
    "nobody looks when N is raised": (
        Model((*TWO_HOLDERS, OF_TWO), overrides=(1, 2), wishes=2, rules=Rules(raise_looks=False)),
        "is stuck",
    ),
    "all are admitted by the N of the first": (
        Model((FIRST_PASSES, Plan(at_once=3), PASSES), rules=Rules(own_n=False)),
        "2 are admitted where 1 may be",
    ),
    "a zombie passes its place on": (
        Model((HOLDER, ONE), faults=1, rules=Rules(fences=False)),
        "goes on without a place",
    ),
    "no sweep after a crash": (
        Model((HOLDER, ONE), faults=1, rules=Rules(sweeps=False)),
        "is stuck",
    ),
    "a cancel looks only if it had seen a place": (
        Model((HOLDER, ONE, ONE), rules=Rules(cancel_looks=False), **people("cancel")),
        "is stuck",
    ),
    "it looks behind a row that is locked": (
        Model((PASSES, PASSES), rules=Rules(stays=False)),
        "goes before",
    ),
    "a sequence gives up its place for a later attempt": (
        Model((FIRST_HOLDS, HOLDS), LATER, rules=Rules(keeps=False)),
        "goes before",
    ),
    "a retry goes by the place that it had read": (
        Model(
            (FIRST_HOLDS, HOLDS),
            ENDS,
            rules=Rules(asks_place=False),
            **people("retry", "release", wishes=2),
        ),
        "goes on without a place",
    ),
    "a pause leaves places": (
        Model((HOLDER, PAUSABLE), rules=Rules(takes="never"), **people("pause")),
        "a paused queue holds a place",
    ),
    "a pause takes places only once": (
        Model((HOLDER, PAUSABLE), rules=Rules(takes="once"), **people("pause")),
        "a paused queue holds a place",
    ),
    "a sweep takes all that wait for busy": (
        Model((SKIPS, SKIPS), rules=Rules(asks_busy=False), **people("sweep")),
        "as busy though a place was free",
    ),
    "who has enqueued it cancels a later attempt": (
        Model((SKIPS, SKIPS), LATER, rules=Rules(asks_claims=False)),
        "as busy though it has begun",
    ),
}


@pytest.mark.long(after=8)
@pytest.mark.parametrize("name", SIZES)
def test_limits_and_sequences_hold_in_every_interleaving(name: str) -> None:
    states, model = SIZES[name]
    assert search(model) >= states


@pytest.mark.long
@pytest.mark.parametrize("name", LONG_SIZES)
def test_limits_and_sequences_hold_with_more_jobs_and_faults(name: str) -> None:
    states, model = LONG_SIZES[name]
    assert search(model) >= states


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_without_one_of_its_rules_breaks_a_promise(name: str) -> None:
    model, text = TWINS[name]
    with pytest.raises(Counterexample, match=text):
        search(model)
