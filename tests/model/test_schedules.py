"""One job a tick in every interleaving of two maintenance processes, edits and deaths.

The promises: no tick has two jobs, not even when the first was pruned. Each tick that was due, and
that nobody took away by an edit or a pause, has its job in the end, and each job its message. No
job is made as the schedule was before an edit that is committed, or while it is paused. The
schedule waits for a tick of its own.
"""

from __future__ import annotations

import pytest

from .schedules import Model, Rules, search
from .search import Counterexample

NO_MOVE: frozenset[str] = frozenset()
COMPARES = Rules().compares

# What a search visits at least: with fewer states a kind of step is missing.
SIZES = {
    "an edit and a death": (25_000, Model()),
    "an edit and a death, the latest only": (25_000, Model(rules=Rules(catch_up="latest"))),
    "without the index: the move alone is enough": (25_000, Model(rules=Rules(unique=False))),
}
LONG_SIZES = {
    "two edits and a death": (170_000, Model(wishes=2)),
    "two edits and two deaths, the latest only": (
        170_000,
        Model(wishes=2, faults=2, rules=Rules(catch_up="latest")),
    ),
}

TWINS = {
    "no conditional move: double": (
        Model(wishes=0, rules=Rules(NO_MOVE, unique=False)),
        "two jobs of one tick",
    ),
    "no conditional move: the index does not help when a job was pruned": (
        Model(rules=Rules(COMPARES - {"next_at"})),
        "two jobs of one tick",
    ),
    "no conditional move: an edit is ignored": (
        Model(rules=Rules(NO_MOVE)),
        "as it was before an edit",
    ),
    "the revision is not compared": (
        Model(rules=Rules(COMPARES - {"revision"})),
        "as it was before an edit",
    ),
    "the pause is not compared": (Model(rules=Rules(COMPARES - {"paused"})), "is paused"),
    "the jobs are inserted after the commit": (
        Model(wishes=0, rules=Rules(inserts="after")),
        "no job for",
    ),
    "nobody sends what a dead process has inserted": (
        Model(wishes=0, rules=Rules(redispatches=False)),
        "nobody sends",
    ),
}


@pytest.mark.parametrize("name", SIZES)
def test_each_tick_has_its_one_job_in_every_interleaving(name: str) -> None:
    states, model = SIZES[name]
    assert search(model) >= states


@pytest.mark.long
@pytest.mark.parametrize("name", LONG_SIZES)
def test_each_tick_has_its_one_job_however_much_is_edited(name: str) -> None:
    states, model = LONG_SIZES[name]
    assert search(model) >= states


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_without_one_of_its_rules_breaks_a_promise(name: str) -> None:
    model, text = TWINS[name]
    with pytest.raises(Counterexample, match=text):
        search(model)
