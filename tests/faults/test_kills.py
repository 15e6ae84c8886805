"""The kill matrix: SIGKILL at each point, to each victim, in each mode."""

from __future__ import annotations

import subprocess
import sys
from itertools import product
from typing import Any

import pytest

from django_bgtasks.models import Job
from tests.maintenance import wait_for_maintenance
from tests.waiting import wait_until
from tests.workers import ROOT, environment

from . import tasks
from .case import Case
from .effects import VARIABLE as EFFECTS
from .strikes import Strike, Victim

pytestmark = pytest.mark.faults

POINTS = (
    "after fetch",
    "before claim",
    "after claim",
    "in body",
    "before settle",
    "after move",
    "after settle",
    "before announce",
    "before acknowledge",
    "after acknowledge",
)
MODES: dict[str, Any] = {
    "default": tasks.plain,
    "atomic": tasks.atomic,
    "on_crash=fail": tasks.careful,
}
BOUNDS: dict[Victim, float] = {"process": 3.0, "supervisor": 15.0, "tree": 15.0}
TITLES: dict[Victim, str] = {
    "process": "SIGKILL of the process that runs the job",
    "supervisor": "SIGKILL of the supervisor",
    "tree": "SIGKILL of the whole worker",
}


def matrix() -> list[Any]:
    """All cases. The default run has the process at each point, and the tree at one."""
    cases = []
    for point, victim, mode in product(POINTS, BOUNDS, MODES):
        short = victim == "process" and (mode == "default" or point in ("in body", "after settle"))
        marks = [] if short else [pytest.mark.long]
        name = f"{victim} {point} {mode}".replace(" ", "-")
        cases.append(pytest.param(point, victim, mode, id=name, marks=marks))
    return cases


def ends_in_crash(point: str, victim: Victim, mode: str) -> bool:
    """Whether the job must not run again: it may have begun, and `on_crash` is "fail".

    The supervisor knows of its own process that the task had not begun; a rescuer does not.
    """
    begun = {"in body", "before settle"} | (set() if victim == "process" else {"after claim"})
    return mode == "on_crash=fail" and point in begun


@pytest.mark.long(after=6)
@pytest.mark.parametrize(("point", "victim", "mode"), matrix())
def test_a_worker_killed_at_any_point_loses_nothing_and_repeats_no_atomic_effect(
    case: Case, point: str, victim: Victim, mode: str
) -> None:
    case.row("Kills", f"{TITLES[victim]}, at {len(POINTS)} points, in 3 modes")
    case.worker(strike=Strike(point, victim))
    wait_for_maintenance()
    job = case.enqueue(MODES[mode])
    struck = case.struck_at()
    if victim != "process":
        case.worker()
    case.wait_final()
    case.recovered(case.now() - struck, within=BOUNDS[victim])
    failed = ends_in_crash(point, victim, mode)
    assert case.job(job).state == ("failed" if failed else "succeeded")
    assert case.effects.times("begin")[job.id] <= 2


@pytest.mark.parametrize("victim", ["process", pytest.param("tree", marks=pytest.mark.long)])
@pytest.mark.parametrize(
    ("task", "state"),
    [(tasks.paying, "succeeded"), (tasks.paying_at_most_once, "failed")],
    ids=["at_least_once", "at_most_once"],
)
def test_a_kill_after_an_external_call_and_before_its_record_charges_nobody_twice(
    case: Case, task: Any, state: str, victim: Victim
) -> None:
    case.row("Kills", f"{TITLES[victim]}, after an external call and before its record")
    case.worker(strike=Strike("before record", victim))
    job = case.enqueue(task)
    struck = case.struck_at()
    if victim != "process":
        case.worker()
    case.wait_final()
    case.recovered(case.now() - struck, within=BOUNDS[victim])
    assert case.job(job).state == state


@pytest.mark.long(after=1)
@pytest.mark.parametrize("point", ["after insert", "before push", "after push"])
@pytest.mark.parametrize(
    "mode", ["atomic", *(pytest.param(m, marks=pytest.mark.long) for m in MODES if m != "atomic")]
)
def test_a_site_killed_while_it_enqueues_has_the_job_if_and_only_if_it_committed(
    case: Case, point: str, mode: str
) -> None:
    case.row("Kills", "SIGKILL of the site that enqueues, at 3 points, in 3 modes")
    enqueue_until_killed(case, point, MODES[mode].func.__name__)
    assert Job.objects.count() == (0 if point == "after insert" else 1)
    confirm_that_all_begin_once(case)


@pytest.mark.postgres
@pytest.mark.parametrize("point", ["before push early", "after push early"])
def test_a_site_killed_while_its_row_is_committed_has_the_job_whether_its_message_was_sent_or_not(
    case: Case, point: str
) -> None:
    case.row("Kills", "SIGKILL of the site while its row is committed, at 2 points")
    enqueue_until_killed(case, point, MODES["default"].func.__name__, "early")
    wait_until(lambda: Job.objects.count() == 2, 10, "the database has committed what it was sent")
    confirm_that_all_begin_once(case)


def enqueue_until_killed(case: Case, point: str, *arguments: str) -> None:
    """Run a producer, which is killed at this point."""
    command = [sys.executable, "-m", "tests.faults.producer", *arguments]
    strike = Strike(point, "self").env
    env = {**environment(), EFFECTS: str(case.effects.path), **strike}
    assert subprocess.run(command, cwd=ROOT, env=env, check=False, timeout=60).returncode == -9


def confirm_that_all_begin_once(case: Case) -> None:
    """Start a worker, and wait until it has run each job that was committed, in time."""
    committed = [str(pk) for pk in Job.objects.values_list("pk", flat=True)]
    case.committed += committed
    case.worker()
    start = case.now()
    case.wait_final()
    if committed:
        case.recovered(case.now() - start, within=BOUNDS["tree"])
    assert len(case.effects.of("begin")) == len(committed)
