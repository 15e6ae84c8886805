"""Workflows keep their promises in every interleaving; their twins do not.

The promises: a batch that is over has no live member and no open child, and each batch is over in
the end, whoever dies. Nobody waits for what is over, and nobody begins before what it waits for has
ended well. A batch ends as its members and children did. Its callbacks run once: the one of success
if and only if it succeeded, that of failure with the first failure, that of the end always, but
none if the batch was skipped. A manual retry brings back what was skipped. A cancel reaches all
that waits, also what is added meanwhile. An attempt that has lost its job neither adds nor settles.
No two transactions wait for each other.
"""

from __future__ import annotations

from typing import Any

import pytest

from .batch_state import (
    END,
    FAILED,
    FAILURE,
    NONE,
    SUCCEEDED,
    SUCCESS,
    BatchPlan,
    JobPlan,
    Model,
    Rules,
)
from .batches import search
from .search import Counterexample

ROOT, CHILD, ADDED_CHILD = BatchPlan(), BatchPlan(0), BatchPlan(0, is_added=True)
BEHIND_10 = BatchPlan(0, gate=10)
OF_ROOT, OF_CHILD = JobPlan(0), JobPlan(1)
BOTH = (SUCCEEDED, FAILED)
EITHER, CHILD_EITHER = JobPlan(0, outcomes=BOTH), JobPlan(1, outcomes=BOTH)
AFTER_10, AFTER_11 = JobPlan(0, gate=10), JobPlan(0, gate=11)
OPENED_BY_10 = JobPlan(1, gate=10)
AFTER_CHILD, CHILD_END = JobPlan(0, gate=1), JobPlan(0, 1, END)
CHILD_SUCCESS, CHILD_FAILURE = JobPlan(0, 1, SUCCESS), JobPlan(0, 1, FAILURE)
ON_SUCCESS, ON_FAILURE, ON_END = (JobPlan(NONE, 0, on) for on in (SUCCESS, FAILURE, END))
CALLBACKS = (ON_SUCCESS, ON_FAILURE, ON_END)


def people(*wants: tuple[str, int], wishes: int = 1) -> dict[str, Any]:
    return {"wants": wants, "wishes": wishes}


CANCEL, CANCEL_CHILD, RETRY = people(("cancel", 0)), people(("cancel", 1)), people(("retry", 10))
CANCEL_AND_RETRY = people(("cancel", 0), ("retry", 11), wishes=2)

ONE, TWO, THREE = (ROOT,), (ROOT, CHILD), (ROOT, CHILD, CHILD)
# One that runs adds to its own batch.
GROWS = (JobPlan(0, adds=(11,), adds_to=0), JobPlan(0, is_added=True))
# A member of one child adds to the other, whose last member settles.
GROWS_ELSEWHERE = (
    JobPlan(1, adds=(12,), adds_to=2),
    JobPlan(2),
    JobPlan(2, is_added=True),
    JobPlan(0, 2, END),
)
# The step before a group adds to it.
SPLITS = (JobPlan(0, outcomes=BOTH, adds=(11,), adds_to=1), JobPlan(1, 10, is_added=True), ON_END)
# Another one adds a job, or a batch with a job, to the group that this step opens.
ADDS_TO_NEXT = (EITHER, JobPlan(0, adds=(12,), adds_to=1), JobPlan(1, 10, is_added=True))
ADDED_BEHIND_10 = BatchPlan(1, 10, is_added=True)
ADDS_BATCH_TO_NEXT = (
    EITHER,
    JobPlan(0, adds=(2, 12), adds_to=1),
    JobPlan(2, 10, is_added=True),
)
# One that runs adds a batch with a job.
ADDS_BATCH = (JobPlan(0, adds=(1, 11), adds_to=0), JobPlan(1, is_added=True))

SIZES: dict[str, tuple[int, Model]] = {
    "the last two settle at once": (800, Model(ONE, (EITHER, EITHER, *CALLBACKS))),
    "slow statements": (1_000, Model(ONE, (EITHER, OF_ROOT, *CALLBACKS), apart=True)),
    "a crash": (3_000, Model(ONE, (EITHER, OF_ROOT, ON_END), faults=1)),
    "a chain and a crash": (3_500, Model(ONE, (EITHER, AFTER_10, ON_SUCCESS, ON_END), faults=1)),
    "one adds to its own batch, and a crash": (1_600, Model(ONE, (*GROWS, ON_END), faults=1)),
    "one adds elsewhere": (2_200, Model(THREE, GROWS_ELSEWHERE)),
    "one adds elsewhere, slow statements": (5_500, Model(THREE, GROWS_ELSEWHERE, apart=True)),
    "a step adds to the next": (150, Model((ROOT, BEHIND_10), SPLITS)),
    "one adds to what is being opened": (1_200, Model((ROOT, BEHIND_10), ADDS_TO_NEXT)),
    "one adds a batch to what is being opened": (
        1_700,
        Model((ROOT, BEHIND_10, ADDED_BEHIND_10), ADDS_BATCH_TO_NEXT),
    ),
    "callbacks of a child": (
        2_000,
        Model(TWO, (CHILD_EITHER, CHILD_SUCCESS, CHILD_FAILURE, CHILD_END, *CALLBACKS)),
    ),
    "nested failure and a crash": (
        3_500,
        Model(TWO, (CHILD_EITHER, CHILD_SUCCESS, CHILD_FAILURE, ON_END), faults=1),
    ),
    "an empty group": (50, Model(TWO, (ON_SUCCESS, ON_FAILURE), faults=1)),
    "an empty group within a chain": (
        1_600,
        Model((ROOT, BEHIND_10), (EITHER, AFTER_CHILD, ON_END), faults=1),
    ),
    "a retry meets completion of the child": (
        3_000,
        Model(TWO, (CHILD_EITHER, OF_CHILD, ON_SUCCESS), **RETRY),
    ),
    "a retry brings back what follows the child": (
        1_000,
        Model(TWO, (CHILD_EITHER, AFTER_CHILD, ON_SUCCESS), **RETRY),
    ),
    "a retry brings back a group": (
        5_000,
        Model((ROOT, BEHIND_10), (EITHER, OPENED_BY_10, CHILD_END, ON_SUCCESS), **RETRY),
    ),
    "a step fails while its follower is cancelled": (
        1_500,
        Model(ONE, (EITHER, AFTER_10, AFTER_11, ON_FAILURE), **people(("cancel job", 11))),
    ),
    "a member of a group that is not opened is cancelled": (
        7_200,
        Model(
            (ROOT, BEHIND_10),
            (EITHER, OPENED_BY_10, CHILD_FAILURE, CHILD_END),
            **people(("cancel job", 11)),
        ),
    ),
    "a cancel meets completion": (9_000, Model(TWO, (CHILD_EITHER, CHILD_END, ON_END), **CANCEL)),
    "a cancel of a child": (1_900, Model(TWO, (OF_CHILD, AFTER_CHILD, CHILD_END), **CANCEL_CHILD)),
    "a cancel meets growth": (3_800, Model((ROOT, ADDED_CHILD), ADDS_BATCH, **CANCEL)),
    "a retry after a cancel": (15_000, Model(ONE, (OF_ROOT, AFTER_10), **CANCEL_AND_RETRY)),
    "one adds a batch to what is being opened, slow statements": (
        4_000,
        Model((ROOT, BEHIND_10, ADDED_BEHIND_10), ADDS_BATCH_TO_NEXT, apart=True),
    ),
    "a retry, slow statements": (
        1_200,
        Model(TWO, (CHILD_EITHER, AFTER_CHILD), apart=True, **RETRY),
    ),
    "a retry of one of three steps": (
        4_600,
        Model(ONE, (EITHER, AFTER_10, AFTER_11, ON_SUCCESS, ON_END), **RETRY),
    ),
    "a retry and all callbacks": (6_200, Model(ONE, (EITHER, OF_ROOT, *CALLBACKS), **RETRY)),
    "two retries of one": (
        4_000,
        Model(ONE, (EITHER, ON_SUCCESS, ON_FAILURE), **people(("retry", 10), wishes=2)),
    ),
    "a cancel meets the growth of a child": (
        4_800,
        Model(TWO, (JobPlan(1, adds=(11,), adds_to=1), JobPlan(1, is_added=True)), **CANCEL),
    ),
    "a sweep beside all": (
        6_000,
        Model(TWO, (CHILD_EITHER, OF_CHILD, CHILD_END), **people(("sweep", NONE))),
    ),
}
LONG_SIZES: dict[str, tuple[int, Model]] = {
    "three callbacks and a crash": (29_000, Model(ONE, (EITHER, EITHER, *CALLBACKS), faults=1)),
    "two crashes": (36_000, Model(ONE, (EITHER, OF_ROOT, ON_END), faults=2)),
    "one adds elsewhere, and a crash": (92_000, Model(THREE, GROWS_ELSEWHERE, faults=1)),
    "a step adds to the next, and a crash": (
        39_000,
        Model((ROOT, BEHIND_10), (*SPLITS, OPENED_BY_10), faults=1),
    ),
    "one adds to what is being opened, and a crash": (
        37_000,
        Model((ROOT, BEHIND_10), ADDS_TO_NEXT, faults=1),
    ),
    "a retry and a crash": (18_000, Model(TWO, (CHILD_EITHER, AFTER_CHILD), faults=1, **RETRY)),
    "two retries of two": (
        30_000,
        Model(ONE, (EITHER, EITHER), **people(("retry", 10), ("retry", 11), wishes=2)),
    ),
    "a cancel of a child with two members": (
        31_000,
        Model(TWO, (OF_CHILD, OF_CHILD, AFTER_CHILD, CHILD_END), **CANCEL_CHILD),
    ),
    "a cancel and a crash": (57_000, Model(ONE, (OF_ROOT, AFTER_10, ON_END), faults=1, **CANCEL)),
    "a cancel meets failure and its callbacks": (
        16_000,
        Model(ONE, (EITHER, OF_ROOT, ON_FAILURE, ON_END), **CANCEL),
    ),
    "a retry after a cancel of a child": (
        38_000,
        Model(
            TWO,
            (OF_CHILD, CHILD_SUCCESS, ON_END),
            **people(("cancel", 0), ("retry", 10), wishes=2),
        ),
    ),
    "a retry of a cancelled member of a group that is not opened": (
        20_000,
        Model(
            (ROOT, BEHIND_10),
            (EITHER, OPENED_BY_10, AFTER_CHILD),
            **people(("cancel job", 11), ("retry", 11), wishes=2),
        ),
    ),
    "a cancel of a group that is not opened": (
        14_000,
        Model((ROOT, BEHIND_10), (EITHER, OPENED_BY_10, CHILD_END, CHILD_FAILURE), **CANCEL_CHILD),
    ),
    "retries of all after a cancel": (
        115_000,
        Model(
            (ROOT, BEHIND_10),
            (OF_ROOT, OPENED_BY_10),
            **people(("cancel", 0), ("retry", 10), ("retry", 11), wishes=2),
        ),
    ),
    "a retry meets growth": (
        7_500,
        Model((ROOT, BEHIND_10), ADDS_TO_NEXT, **RETRY),
    ),
    "two cancels": (
        28_000,
        Model(TWO, (OF_CHILD, AFTER_CHILD), **people(("cancel", 0), ("cancel", 1), wishes=2)),
    ),
    "two children fail": (
        7_400,
        Model(
            THREE,
            (
                CHILD_EITHER,
                JobPlan(2, outcomes=BOTH),
                CHILD_FAILURE,
                JobPlan(0, 2, FAILURE),
                ON_FAILURE,
            ),
        ),
    ),
    "a cancel of a chain, slow statements": (
        21_000,
        Model(ONE, (EITHER, AFTER_10, AFTER_11, ON_FAILURE), apart=True, **CANCEL),
    ),
    "a retry after a cancel, slow statements": (
        44_000,
        Model(ONE, (OF_ROOT, AFTER_10), apart=True, **CANCEL_AND_RETRY),
    ),
}

WAITS_FOR_EVER, NEVER = "waits for what is over", "never completes"
EARLY = "is over and has a live member"
TWINS: dict[str, tuple[Model, str]] = {
    "the last member decides before its commit": (
        Model(ONE, (OF_ROOT, OF_ROOT), apart=True, rules=Rules(asks="inside")),
        NEVER,
    ),
    "a completer looks and writes in one statement": (
        Model(THREE, GROWS_ELSEWHERE, rules=Rules(asks="at once")),
        EARLY,
    ),
    "who adds does not ask whether the batch is over": (
        Model(THREE, GROWS_ELSEWHERE, rules=Rules(asks_closed=False)),
        EARLY,
    ),
    "jobs are released before batches are opened": (
        Model((ROOT, BEHIND_10), ADDS_TO_NEXT, rules=Rules(opens_first=False)),
        WAITS_FOR_EVER,
    ),
    "batches are opened once": (
        Model((ROOT, BEHIND_10, ADDED_BEHIND_10), ADDS_BATCH_TO_NEXT, rules=Rules(repeats=False)),
        WAITS_FOR_EVER,
    ),
    "jobs are skipped before batches": (
        Model((ROOT, BEHIND_10), ADDS_TO_NEXT, rules=Rules(skips="jobs")),
        EARLY,
    ),
    "a cancel looks for batches once": (
        Model((ROOT, ADDED_CHILD), ADDS_BATCH, rules=Rules(repeats=False), **CANCEL),
        "batch 1 is not cancelled",
    ),
    "no sweep": (Model(ONE, (OF_ROOT,), faults=1, rules=Rules(sweeps=False)), NEVER),
    "who completes a child does not look at its parent": (
        Model(TWO, (OF_CHILD,), rules=Rules(looks_up=False)),
        NEVER,
    ),
    "nobody looks at what has been opened": (
        Model((ROOT, BEHIND_10), (OF_ROOT,), rules=Rules(looks_at_opened=False)),
        NEVER,
    ),
    "a failure is noted after its commit": (
        Model(ONE, (EITHER, OF_ROOT, ON_FAILURE), rules=Rules(marks="after")),
        "still waits, though job 10 failed",
    ),
    "a group that is not opened has its callback of failure at once": (
        Model(
            (ROOT, BEHIND_10),
            (EITHER, OPENED_BY_10, CHILD_FAILURE),
            rules=Rules(fails_closed=True),
            **people(("cancel job", 11)),
        ),
        "runs though its batch skipped",
    ),
    "a callback that is not needed counts as a failure": (
        Model(TWO, (OF_CHILD, CHILD_FAILURE), rules=Rules(leaves_out=False)),
        "batch 0 is failed and should be succeeded",
    ),
    "a zombie writes what does not need its claim": (
        Model(ONE, (EITHER, ON_FAILURE), faults=1, rules=Rules(fences=False)),
        "runs though its batch succeeded",
    ),
    "who adds does not ask for its claim": (
        Model(ONE, GROWS, faults=1, rules=Rules(asks_claim="no")),
        "has lost its claim",
    ),
    "who adds does not lock its claim": (
        Model(ONE, GROWS, faults=1, rules=Rules(asks_claim="unlocked")),
        "has lost its claim",
    ),
    "who adds locks the batch before its claim": (
        Model((ROOT, BEHIND_10), SPLITS, faults=1, rules=Rules(claim_first=False)),
        "a deadlock",
    ),
    "who fails locks the batches before its claim": (
        Model(ONE, GROWS, faults=1, rules=Rules(job_first=False)),
        "a deadlock",
    ),
    "a retry does not lock the path": (
        Model(TWO, (CHILD_EITHER, OF_CHILD), rules=Rules(locks_path=False), **RETRY),
        EARLY,
    ),
    "a retry leaves what was skipped": (
        Model(ONE, (EITHER, AFTER_10), rules=Rules(revives="not"), **RETRY),
        "stays skipped",
    ),
    "a retry brings back a cancelled batch as it was": (
        Model(
            (ROOT, BEHIND_10),
            (EITHER, OPENED_BY_10),
            rules=Rules(revives="as it was"),
            **people(("cancel", 1), ("retry", 10), wishes=2),
        ),
        "though its batch is cancelled",
    ),
    "a retry of a member of a batch that was skipped": (
        Model(
            (ROOT, BEHIND_10),
            (EITHER, OPENED_BY_10),
            rules=Rules(refuses=False),
            **people(("cancel job", 11), ("retry", 11), wishes=2),
        ),
        WAITS_FOR_EVER,
    ),
    "a retry does not ask whether the gate has been passed": (
        Model(ONE, (OF_ROOT, AFTER_10), rules=Rules(asks_gate=False), **CANCEL_AND_RETRY),
        "begins before its turn",
    ),
    "a retry does not lock the gate": (
        Model(ONE, (OF_ROOT, AFTER_10), rules=Rules(locks_gate="not"), **CANCEL_AND_RETRY),
        WAITS_FOR_EVER,
    ),
    "a retry waits for the gate": (
        Model(ONE, (OF_ROOT, AFTER_10), rules=Rules(locks_gate="waits"), **CANCEL_AND_RETRY),
        "a deadlock",
    ),
    "a retry waits for a job that runs": (
        Model(ONE, (EITHER,), rules=Rules(asks_state=False), **people(("retry", 10), wishes=2)),
        "a deadlock",
    ),
    "a cancel waits for jobs": (
        Model(
            TWO,
            (CHILD_EITHER, AFTER_CHILD, CHILD_END),
            rules=Rules(skips_locked=False, leaves_callbacks=False),
            **CANCEL,
        ),
        "a deadlock",
    ),
    "a cancel takes callbacks": (
        Model(TWO, (OF_CHILD, CHILD_END), rules=Rules(leaves_callbacks=False), **CANCEL),
        "never runs",
    ),
    "a cancel that dies is not continued": (
        Model(ONE, (OF_ROOT, AFTER_10), faults=1, rules=Rules(goes_on=False), **CANCEL),
        "though its batch is cancelled",
    ),
}


@pytest.mark.long(after=8)
@pytest.mark.parametrize("name", SIZES)
def test_workflows_hold_in_every_interleaving(name: str) -> None:
    states, model = SIZES[name]
    assert search(model) >= states


@pytest.mark.long
@pytest.mark.parametrize("name", LONG_SIZES)
def test_workflows_hold_with_more_jobs_and_faults(name: str) -> None:
    states, model = LONG_SIZES[name]
    assert search(model) >= states


@pytest.mark.parametrize("name", TWINS)
def test_a_workflow_without_one_of_its_rules_breaks_a_promise(name: str) -> None:
    model, text = TWINS[name]
    with pytest.raises(Counterexample, match=text):
        search(model)
