"""What happens to those that have a place, and to those that wait, when something goes wrong."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import Any

import psutil
import pytest
from django.db.models import F

from django_bgtasks.models import Job, Worker
from testproject.servers import RedisServer
from tests.maintenance import wait_for_maintenance
from tests.stopping import stop
from tests.waiting import wait_until

from . import limit_tasks as tasks
from .case import SOON, Case

pytestmark = pytest.mark.faults
TEN_MINUTES = timedelta(minutes=10)


def begun(case: Case, name: str, times: int = 1) -> bool:
    """Whether the task of this name has begun so often."""
    return len(case.effects.of("begin", name)) >= times


def line(case: Case, task: Any, *names: str) -> list[Any]:
    """Jobs of one key, of which one may run at once."""
    return [case.enqueue(task, "a", name) for name in names]


@pytest.mark.parametrize("victim", ["process", pytest.param("tree", marks=pytest.mark.long)])
def test_the_place_of_one_whose_process_dies_is_used_again_by_itself(
    case: Case, victim: str
) -> None:
    case.row("Kills", f"SIGKILL of a {victim} with a job that has the only place")
    worker = case.worker()
    first, second = line(case, tasks.wait_in_line, "first", "second")
    wait_until(lambda: begun(case, "first"), 20)
    _kill(case, worker, victim)
    with case.recovers(within=15):
        wait_until(lambda: begun(case, "first", 2), 30)
    assert (case.job(first).place, case.job(second).state) == (1, "blocked")
    tasks.gate_of("first").touch()
    wait_until(lambda: begun(case, "second"), 20)
    tasks.gate_of("second").touch()
    case.wait_final()


@pytest.mark.parametrize("victim", ["process", pytest.param("tree", marks=pytest.mark.long)])
def test_the_place_of_one_that_fails_with_its_process_is_used_by_the_next(
    case: Case, victim: str
) -> None:
    case.row("Kills", f"SIGKILL of a {victim} with a job that has the only place")
    worker = case.worker()
    first, second = line(case, tasks.wait_carefully, "first", "second")
    wait_until(lambda: begun(case, "first"), 20)
    _kill(case, worker, victim)
    with case.recovers(within=15):
        wait_until(lambda: begun(case, "second"), 30)
    assert (case.job(first).state, case.job(second).place) == ("failed", 1)
    tasks.gate_of("second").touch()
    case.wait_final()


def _kill(case: Case, worker: Any, victim: str) -> None:
    if victim == "process":
        psutil.Process(case.effects.of("begin")[0].pid).kill()
    else:
        case.worker()
        case.kill(worker)


@pytest.mark.long
def test_a_zombie_that_settles_late_takes_no_place_from_who_has_it_now(case: Case) -> None:
    case.row("Delivery", "SIGSTOP, rescue and SIGCONT of a job that has the only place")
    frozen = case.worker(env=SOON)
    first, second, third = line(case, tasks.wait_in_line, "first", "second", "third")
    wait_until(lambda: begun(case, "first"), 20)
    wait_for_maintenance()
    family = frozen.family()
    stop(family)
    case.worker(env=SOON)
    wait_until(lambda: begun(case, "first", 2), 30)
    tasks.gate_of("first").touch()
    wait_until(lambda: begun(case, "second"), 20)
    for process in family:
        # The supervisor, once awake, kills the process before its turn comes here.
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()
    frozen.wait_for("it starts again with a new id")
    wait_until(lambda: Worker.objects.filter(lost_at=None).count() == 2, 20)
    assert case.job(first).state == "succeeded"
    assert (case.job(second).state, case.job(second).place) == ("running", 1)
    assert (case.job(third).state, case.job(third).place) == ("blocked", None)
    tasks.gate_of("second").touch()
    tasks.gate_of("third").touch()
    case.wait_final()


@pytest.mark.long(after=1)
@pytest.mark.parametrize("flushed", [False, True])
def test_after_ten_minutes_without_workers_all_go_on(
    case: Case, own_redis: RedisServer, flushed: bool
) -> None:
    """One has a place and was running, one has a message, and others wait for both keys."""
    case.row("Deploys", "ten minutes without workers, with jobs at their limits")
    worker = case.worker()
    line(case, tasks.wait_in_line, "first", "second", "third")
    wait_until(lambda: begun(case, "first"), 20)
    case.kill(worker)
    for name in ("fourth", "fifth"):
        case.enqueue(tasks.wait_in_line, "b", name)
    for model, fields in (
        (Job, ("enqueued_at", "started_at")),
        (Worker, ("started_at", "last_seen_at")),
    ):
        model.objects.update(**{field: F(field) - TEN_MINUTES for field in fields})
    if flushed:
        own_redis.flushall()
    for name in ("first", "second", "third", "fourth", "fifth"):
        tasks.gate_of(name).touch()
    case.worker("--processes", 2)
    with case.recovers(within=15):
        case.wait_final()
    assert {*Job.objects.values_list("state", "place")} == {("succeeded", None)}


def test_jobs_that_wait_for_a_limit_that_the_code_has_no_more_run_one_after_another(
    case: Case,
) -> None:
    case.row("Deploys", "a limit that is removed with jobs waiting for it")
    jobs = line(case, tasks.wait_in_line, "first", "second", "third")
    Job.objects.update(task=tasks.wait_alone.module_path)
    case.worker("--processes", 2)
    later = case.enqueue(tasks.wait_alone, "a", "later")
    wait_until(lambda: begun(case, "first") and begun(case, "later"), 20)
    assert [case.job(job).state for job in jobs] == ["running", "blocked", "blocked"]
    for name in ("first", "second", "third", "later"):
        tasks.gate_of(name).touch()
    case.wait_final()
    assert case.job(later).state == "succeeded"
