"""No key is ever over its limit and no place is lost, whoever is killed at whatever moment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from django_bgtasks.core import clock
from django_bgtasks.jobs.actions import retry_job
from django_bgtasks.models import Job, LimitOverride
from testproject.servers import RedisServer

from . import limit_tasks as tasks
from .case import Case
from .storm import Storm

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]
KEYS = [f"key{number}" for number in range(20)]
OPTIONS = ("--processes", 4, "--threads", 100)
# A thread that settles a retry has a connection of its own, and PostgreSQL has a hundred.
CONNECTED = ("--processes", 4, "--threads", 15)
# Seconds of a job, and of the calm after the storm.
EACH, CALM = 0.05, 240.0
SIZES = [
    pytest.param(200, 1, 1.5, id="200 jobs"),
    pytest.param(2000, 1, 40, id="2,000 jobs", marks=pytest.mark.long),
    pytest.param(2000, 2, 40, id="2,000 jobs, 2 workers", marks=pytest.mark.long),
]


def calls(jobs: int) -> list[tuple[str, int, float]]:
    """Key, number within the key, and seconds of each."""
    return [(KEYS[number % len(KEYS)], number // len(KEYS), EACH) for number in range(jobs)]


def retry_crashed(rng: Random | None = None) -> int:
    """A job whose process dies again and again fails, until somebody retries it."""
    crashed = list(Job.objects.filter(state="failed").values_list("pk", flat=True))
    for job in crashed:
        retry_job(job)
    return len(crashed)


def change_limit(rng: Random) -> None:
    """Somebody changes a limit, which is full: it is never more than the tasks look for."""
    values = {"at_once": rng.randint(1, tasks.PLACES), "changed_at": clock.now()}
    LimitOverride.objects.update_or_create(key=f"hold:{rng.choice(KEYS)}", defaults=values)


def weather(case: Case, storm: Storm, longest: float, jobs: int) -> None:
    """The storm, and the calm in which all that is left of so many jobs comes to its end."""
    try:
        storm.rage(lambda: len(case.committed) == jobs and not case.unfinished(), longest)
    finally:
        print(storm.counts)
    LimitOverride.objects.all().delete()

    def is_over() -> bool:
        # Before the retries: the last one may fail in between.
        is_any_left = bool(case.unfinished())
        return not retry_crashed() and not is_any_left

    # One that fails only now, for its worker is found dead, holds up those behind it.
    case.wait_until(is_over, CALM)
    assert case.entry is not None
    case.entry.times = storm.counts["processes"] + storm.counts["workers"]


def confirm(case: Case, states: Sequence[str] = ("succeeded",)) -> Counter[str]:
    """None was ever too many; nobody waits, and nobody has a place. Returns how many ended how."""
    assert not case.effects.of("excess")
    assert not Job.objects.exclude(place=None).exists()
    assert not Job.objects.exclude(waits_for="").exists()
    found = Counter(Job.objects.values_list("state", flat=True))
    assert found.total() == len(case.committed)
    assert {*found} <= {*states}, found
    return found


@pytest.mark.parametrize(("jobs", "workers", "longest"), SIZES)
def test_no_key_is_over_its_limit_while_processes_are_killed(
    case: Case, jobs: int, workers: int, longest: float
) -> None:
    case.row("Kills", "SIGKILL every 50 ms with jobs at their limits")
    storm = Storm(case, OPTIONS, workers, [(1.0, retry_crashed), (0.2, change_limit)])
    case.enqueue_many(tasks.hold, calls(jobs))
    weather(case, storm, longest, jobs)
    confirm(case)
    # Of some there were as many as may be; after a short storm nearly all run alone, for they may
    # be what has ended their processes.
    name = f"{case.effects.path}.hold-%s.{tasks.PLACES - 1}"
    assert jobs < 2000 or any(Path(name % key).exists() for key in KEYS)


@pytest.mark.long
def test_no_key_is_over_its_limit_while_jobs_come_again_later_and_processes_are_killed(
    case: Case,
) -> None:
    case.row("Kills", "SIGKILL every 50 ms with jobs at their limits")
    storm = Storm(case, CONNECTED, 1, [(1.0, retry_crashed), (0.2, change_limit)])
    case.enqueue_many(tasks.hold_and_return, calls(1000))
    case.enqueue_many(tasks.hold, calls(1000))
    weather(case, storm, 40, 2000)
    confirm(case)


@pytest.mark.long
def test_no_key_is_over_its_limit_while_redis_is_flushed_and_processes_are_killed(
    case: Case, own_redis: RedisServer
) -> None:
    case.row("Redis", "FLUSHALL every 3 s, SIGKILL every 50 ms, with jobs at their limits")

    def flush(rng: Random) -> None:
        own_redis.flushall()

    storm = Storm(case, OPTIONS, 2, [(1.0, retry_crashed), (3.0, flush)])
    case.enqueue_many(tasks.hold, calls(2000))
    weather(case, storm, 40, 2000)
    confirm(case)


@pytest.mark.parametrize(("jobs", "workers", "longest"), [*SIZES[:1], *SIZES[2:]])
def test_a_sequence_is_in_order_while_processes_are_killed(
    case: Case, jobs: int, workers: int, longest: float
) -> None:
    """An attempt that was killed begins again before anything later does."""
    case.row("Kills", "SIGKILL every 50 ms with jobs in sequences")
    storm, each = Storm(case, OPTIONS, workers, [(1.0, retry_crashed)]), calls(jobs // 2)
    results = case.enqueue_many(tasks.take_turn, each)
    weather(case, storm, longest, len(each))
    confirm(case)
    numbers = {str(result.id): call for result, call in zip(results, each, strict=True)}
    begun: dict[str, list[int]] = {key: [] for key in KEYS}
    for effect in case.effects.of("begin"):
        key, number, _ = numbers[effect.job]
        begun[key].append(number)
    for order in begun.values():
        assert order == sorted(order)


@pytest.mark.long
@pytest.mark.parametrize("workers", [1, 2])
def test_who_does_not_wait_for_a_place_runs_or_is_skipped_while_processes_are_killed(
    case: Case, workers: int
) -> None:
    case.row("Kills", "SIGKILL every 50 ms with jobs that do not wait for their limits")
    left = calls(1000)

    def enqueue(rng: Random) -> None:
        for _ in range(min(len(left), 10)):
            case.enqueue(tasks.hold_or_skip, *left.pop())

    storm = Storm(case, OPTIONS, workers, [(1.0, retry_crashed), (0.1, enqueue)])
    weather(case, storm, 40, 1000)
    found = confirm(case, ("succeeded", "cancelled"))
    assert found["succeeded"]
    cancelled = Job.objects.filter(state="cancelled")
    assert {*cancelled.values_list("error_code", "attempt")} <= {("busy", 0)}
