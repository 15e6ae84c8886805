"""In no period are there more starts than the rate allows, whoever is killed."""

from __future__ import annotations

from statistics import mean, median
from typing import Any

import pytest

from django_bgtasks import BackgroundTask
from tests.waiting import wait_until

from . import rate_tasks as tasks
from .case import Case

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]
SIZES = [
    pytest.param(tasks.few, 40, id="40 starts"),
    pytest.param(tasks.often, 1000, id="1,000 starts", marks=pytest.mark.long),
]


def begins(case: Case) -> list[float]:
    """When tasks have started, in order."""
    return sorted(effect.at for effect in case.effects.of("begin"))


def confirm_rate(starts: list[float], count: int, per: float) -> None:
    """No period, wherever it begins, has more starts than the rate allows."""
    assert not [round(period, 4) for period in periods_of(starts, count) if period < per]


def periods_of(starts: list[float], count: int) -> list[float]:
    """How long each start has been before the first that may come a period after it."""
    return [later - sooner for sooner, later in zip(starts, starts[count:], strict=False)]


@pytest.mark.parametrize(("task", "jobs"), SIZES)
def test_no_period_has_more_starts_than_the_rate_allows_and_few_are_missing(
    task: BackgroundTask[Any, Any], jobs: int, case: Case
) -> None:
    assert task.rate is not None
    count, per = task.rate.count, float(str(task.rate.per))
    case.row("Delivery", "none: a rate, and 8 processes")
    case.worker("--processes", 8)
    case.enqueue_many(task, [(number,) for number in range(jobs)])
    case.wait_final(60)
    starts = begins(case)
    confirm_rate(starts, count, per)
    # The first ones come at once, and each further one may come a period after one before. How
    # many are missing is only told: beside other tests it is the machine that loses them.
    at_best, periods = (jobs / count - 1) * per, periods_of(starts, count)
    print(f"{jobs} starts in {starts[-1] - starts[0]:.2f} s, {at_best:.2f} s at best")
    print(f"{per / mean(periods):.3f} of the starts, {per / median(periods):.3f} in the median")


@pytest.mark.parametrize(("task", "jobs"), SIZES)
def test_a_restart_of_all_workers_is_no_new_period(
    task: BackgroundTask[Any, Any], jobs: int, case: Case
) -> None:
    assert task.rate is not None
    count, per = task.rate.count, float(str(task.rate.per))
    case.row("Kills", "SIGKILL of a whole worker whose jobs have a rate")
    worker = case.worker("--processes", 4)
    case.enqueue_many(task, [(number,) for number in range(jobs)])
    wait_until(lambda: len(begins(case)) > jobs / 3, 60)
    case.kill(worker)
    case.worker("--processes", 4)
    case.wait_final(90)
    confirm_rate(begins(case), count, per)
