"""The protocol keeps its promises in every state that it can come to; its twins do not.

The promises: no job is lost, and once the faults stop, every history ends with all jobs final. Each
settlement is of the latest claim, by its holder or for one that is dead. A job is completed once at
most, atomic effects with it. Attempts are bounded, whatever dies. A task with on_crash="fail"
begins once at most, and does not fail by the death of a process in which it had not begun. No token
comes twice. No job that has expired is claimed, and none that has begun expires.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from .protocol import Model, Rules
from .search import Counterexample, search

SIBLINGS: dict[str, Any] = {"workers": 1, "processes": 2}
ONE = ("plain",)


@dataclass(frozen=True)
class Size:
    """A model, and what its search visits at least: with fewer states a kind of step is missing."""

    states: int
    model: Model
    long: bool = False


SIZES = {
    "on_crash=fail, any faults": Size(29_000, Model(("fail",)), long=True),
    "on_crash=fail, any faults, one worker": Size(9_800, Model(("fail",), **SIBLINGS)),
    "atomic and on_crash=fail, any faults": Size(33_000, Model(("atomic fail",)), long=True),
    "atomic and on_crash=fail, any faults, one worker": Size(
        11_000, Model(("atomic fail",), **SIBLINGS)
    ),
    "plain, 3 faults, one worker": Size(23_000, Model(ONE, faults=3, **SIBLINGS), long=True),
    "atomic, 3 faults": Size(44_000, Model(("atomic",), faults=3), long=True),
    "two jobs, 1 fault": Size(41_000, Model(("plain", "atomic"), faults=1), long=True),
    "two jobs, 1 fault, one worker": Size(
        32_000, Model(("plain", "atomic"), faults=1, **SIBLINGS), long=True
    ),
    "plain, pruned and retried, 2 faults": Size(10_000, Model(ONE, faults=2, prunes=True)),
    "plain that expires, 2 faults, one worker": Size(
        10_000, Model(("plain expires",), faults=2, **SIBLINGS)
    ),
    "plain, sent while it is committed, 2 faults": Size(7_700, Model(("plain early",), faults=2)),
    "plain, sent while it is committed, 3 faults, one worker": Size(
        23_000, Model(("plain early",), faults=3, **SIBLINGS), long=True
    ),
    "sent while they are committed, and nobody sends lost messages again": Size(
        500, Model(("plain early",) * 2, faults=0, rules=Rules(without="redispatch"))
    ),
    "plain that expires, 3 faults": Size(83_000, Model(("plain expires",), faults=3), long=True),
    "atomic, pruned and retried, 3 faults": Size(
        64_000, Model(("atomic",), faults=3, prunes=True), long=True
    ),
    "two jobs with on_crash=fail, 2 faults": Size(
        77_000, Model(("fail", "atomic fail"), faults=2), long=True
    ),
    "plain, any faults": Size(800_000, Model(ONE), long=True),
    "plain, any faults, one worker": Size(267_000, Model(ONE, **SIBLINGS), long=True),
    "atomic, 4 faults": Size(170_000, Model(("atomic",), faults=4), long=True),
    "atomic, any faults, one worker": Size(348_000, Model(("atomic",), **SIBLINGS), long=True),
    "on_crash=fail, any faults, two late": Size(92_000, Model(("fail",), late=2), long=True),
    "two jobs, 2 faults": Size(678_000, Model(("plain", "atomic"), faults=2), long=True),
    "two jobs, 2 faults, one worker": Size(
        144_000, Model(("atomic", "fail"), faults=2, **SIBLINGS), long=True
    ),
}

# Each the protocol without one of its rules, and what comes of that.
TWINS = {
    "no fence: settle by the id alone": (
        Model(("atomic",), rules=Rules(fence="id")),
        "made a transition that is forbidden, from queued",
        "the answer is lost",
    ),
    "no fence: settle what is running": (
        Model(("atomic",), rules=Rules(fence="state")),
        "settled by one who does not hold its latest claim",
        "the answer is lost",
    ),
    "a fence of (worker, attempt): the token comes twice": (
        Model(ONE, rules=Rules(fence="attempt")),
        "a token of job 0 came a second time",
        "claim job 0",
    ),
    "a fence of (worker, attempt): an old death settles a new claim": (
        Model(ONE, workers=1, late=0, rules=Rules(fence="attempt", watches_tokens=False)),
        "settled by one who does not hold its latest claim",
        "settle_death of job 0",
    ),
    "a lease instead of a token: a write after the look at the clock": (
        Model(ONE, rules=Rules(fence="lease")),
        "settled by one who does not hold its latest claim",
        "the lease holds",
    ),
    "attempts counted at the settlement: a poison job goes on for ever": (
        Model(ONE, workers=1, rules=Rules(counts_at_claim=False)),
        "job 0 killed 4 processes",
        "begin",
    ),
    "a death before the claim releases whatever runs": (
        Model(ONE, rules=Rules(looks=""), **SIBLINGS),
        "settled by one who does not hold its latest claim",
        "whose message was there twice",
    ),
    "it looks at the living only: the holder may have died too": (
        Model(("fail",), rules=Rules(looks="processes"), **SIBLINGS),
        "began twice although on_crash is fail",
        "settle_death of job 0",
    ),
    "a shared state that is empty for a moment after the claim": (
        Model(ONE, workers=1, rules=Rules(state_goes_blank=True)),
        "settled by one who does not hold its latest claim",
        "orphaned claims: release job 0",
    ),
    "an interruption gives back a task that must not begin twice": (
        Model(("fail",), workers=1, rules=Rules(spares_interrupted=False)),
        "began twice although on_crash is fail",
        "(interrupted)",
    ),
    "a claim that waited is reported as one that ran": (
        Model(("fail",), workers=1, rules=Rules(reports_begun=False)),
        "failed without having begun",
        "(interrupted)",
    ),
    "a run that ended and is not settled is given back for free": (
        Model(ONE, workers=1, late=0, rules=Rules(charges_ended=False)),
        "job 0 killed 4 processes",
        "(unbegun)",
    ),
    "a prune deletes by the id what it chose a moment ago": (
        Model(ONE, workers=1, prunes=True, rules=Rules(looks_again=False)),
        "job 0 was deleted while it was queued",
        "a person retries job 0",
    ),
    "a claim does not look at the clock": (
        Model(("plain expires",), workers=1, rules=Rules(claims_in_time=False)),
        "job 0 was claimed after it had expired",
        "job 0 is late now",
    ),
    "a task that begins and runs again later keeps its expiry": (
        Model(("plain expires",), workers=1, rules=Rules(takes_expiry_away=False)),
        "job 0 expired although it had begun",
        "expire job 0",
    ),
    "a worker drops a message that is ahead of its row": (
        Model(("plain early",), faults=0, rules=Rules(looks_for_rows=False, without="redispatch")),
        "a job is lost",
        "claim job 0: not queued",
    ),
    "nobody sends again a message that was long ahead of its row": (
        Model(("plain early",), faults=0, rules=Rules(sends_again=False, without="redispatch")),
        "a job is lost",
        "no row for long",
    ),
    "nobody sends lost messages again": (
        Model(ONE, rules=Rules(without="redispatch")),
        "a job is lost",
        "lose a message of job 0",
    ),
    "nobody rescues": (
        Model(ONE, rules=Rules(without="rescue")),
        "a job is lost",
        "kill of the whole worker",
    ),
    "nobody settles the deaths of processes": (
        Model(ONE, rules=Rules(without="dead_processes")),
        "a job is lost",
        "death of job process",
    ),
    "nobody releases stray claims": (
        Model(ONE, rules=Rules(without="orphaned_claims")),
        "a job is lost",
        "claim job 0; the answer is lost",
    ),
}


@pytest.mark.parametrize(
    "size",
    [
        pytest.param(size, id=name, marks=[pytest.mark.long] if size.long else [])
        for name, size in SIZES.items()
    ],
)
@pytest.mark.timeout(600)
def test_no_reachable_state_breaks_a_promise_and_from_each_all_jobs_come_to_an_end(
    size: Size,
) -> None:
    found = search(size.model)
    print(f"{len(found.worlds)} states, {found.steps} steps")
    assert len(found.worlds) >= size.states


@pytest.mark.parametrize(("model", "broken", "by"), TWINS.values(), ids=TWINS)
def test_without_this_rule_a_promise_is_broken(model: Model, broken: str, by: str) -> None:
    with pytest.raises(Counterexample) as found:
        search(model)
    print(found.value)
    assert broken in found.value.text
    assert any(by in step for step in found.value.trace), found.value
