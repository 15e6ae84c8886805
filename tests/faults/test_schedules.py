"""Each tick is one job, whoever is killed or stopped in the middle of it, and whenever."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from random import Random

import pytest

from django_bgtasks import Every, set_schedule
from django_bgtasks.core.clock import in_utc
from django_bgtasks.ledger.times import database_now
from django_bgtasks.models import Job, Schedule
from django_bgtasks.schedules.fire import fire_due
from tests.schedules.tasks import note, sync
from tests.waiting import wait_until

from .crew import Orders, run
from .report import Entry, record

pytestmark = [pytest.mark.faults, pytest.mark.django_db(transaction=True)]
DB, SECOND = "default", timedelta(seconds=1)
RIGHT, APART = (0.0,), (-60.0, 60.0)


@pytest.mark.parametrize(
    ("schedules", "count", "risk", "clocks"),
    [
        pytest.param(10, 3, 0.02, APART, id="30 ticks, clocks 120 s apart"),
        pytest.param(50, 20, 0.004, RIGHT, id="1,000 ticks", marks=pytest.mark.long),
        pytest.param(
            50, 20, 0.004, APART, id="1,000 ticks, clocks 120 s apart", marks=pytest.mark.long
        ),
    ],
)
def test_each_tick_is_one_job_whoever_of_eight_is_killed_or_stopped(
    schedules: int, count: int, risk: float, clocks: tuple[float, ...], tmp_path: Path
) -> None:
    entry = Entry("Delivery", "one of 8 maintenance processes that fire schedules, SIGKILL or STOP")
    ticks = {
        due_each_second(f"schedule {number}", number / schedules, count)
        for number in range(schedules)
    }
    struck = run(Orders(Random().getrandbits(32), count + 1, risk, clocks=clocks), tmp_path / "log")
    entry.times, entry.jobs = sum(struck.values()), schedules * count
    every = [tick for each in ticks for tick in each]
    fire_all_until(max(tick for _, tick in every))
    confirm(every, entry)


@pytest.mark.parametrize(
    ("count", "risk"),
    [
        pytest.param(4, 0.02, id="4 ticks"),
        pytest.param(30, 0.02, id="30 ticks", marks=pytest.mark.long),
    ],
)
def test_a_tick_in_a_deploy_is_one_job_and_later_ones_are_the_new_code_s(
    count: int, risk: float, tmp_path: Path
) -> None:
    """Eight processes with the old code are killed one by one; those with the new one take over."""
    entry = Entry("Deploys", "maintenance processes replaced by new code in the middle of a tick")
    orders = Orders(Random().getrandbits(32), count + 1, risk, deploy_at=count / 2)
    struck = run(orders, tmp_path / "log")
    entry.times, entry.jobs = sum(struck.values()), count
    row = Schedule.objects.get()
    every = [(row.name, in_utc(row.anchor) + number * SECOND) for number in range(1, count + 1)]
    fire_all_until(every[-1][1])
    confirm(every, entry)
    calls = [job.kwargs["full"] for job in Job.objects.order_by("tick")]
    assert calls == sorted(calls)
    # Within a few seconds a slow machine starts no new code, or no old one.
    assert count < 10 or {*calls} == {False, True}


def due_each_second(name: str, begin: float, count: int) -> tuple[tuple[str, datetime], ...]:
    """A schedule with a tick a second from now on; returns its first ones."""
    row = set_schedule(name, note, Every(seconds=1), catch_up="all", overlap="allow")
    anchor = database_now(DB) + begin * SECOND
    Schedule.objects.filter(pk=row.pk).update(anchor=anchor, next_at=anchor)
    anchor = in_utc(Schedule.objects.get(pk=row.pk).anchor)
    return tuple((name, anchor + number * SECOND) for number in range(count))


def fire_all_until(end: datetime) -> None:
    """What those who were killed have left is done by whoever is there."""

    def are_fired() -> bool:
        fire_due("default", DB)
        return not Schedule.objects.filter(next_at__lte=end).exists()

    # By whatever code: here all of it is known.
    Schedule.objects.filter(task=sync.module_path).update(source="made")
    wait_until(are_fired, 20)


def confirm(every: list[tuple[str, datetime]], entry: Entry) -> None:
    """Each of these ticks has one job; they have none that is nobody's."""
    names = dict(Schedule.objects.values_list("pk", "name"))
    end = max(tick for _, tick in every)
    found = [
        (names[schedule], in_utc(tick))
        for schedule, tick in Job.objects.values_list("schedule", "tick")
        if schedule and tick and in_utc(tick) <= end
    ]
    entry.lost, entry.duplicates = len({*every} - {*found}), len(found) - len({*found})
    record(entry)
    assert (entry.lost, entry.duplicates) == (0, 0)
    # Those of the others up to the last of all.
    assert {*every} <= {*found}
    assert not Schedule.objects.exclude(skipped=0, error="").exists()
