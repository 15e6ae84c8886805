"""A worker that stands still so long that others call it dead, and then goes on: a zombie."""

from __future__ import annotations

import contextlib
import signal

import psutil
import pytest

from django_bgtasks.models import Worker
from tests.maintenance import wait_for_maintenance
from tests.stopping import stop
from tests.waiting import wait_until
from tests.workers import WorkerFactory

from . import tasks
from .conftest import QUICK, Effects
from .jobs import outcomes, wait_for_state

pytestmark = pytest.mark.faults


@pytest.mark.parametrize("gate", ["open", pytest.param("closed", marks=pytest.mark.long)])
def test_a_zombie_that_wakes_after_its_rescue_settles_nothing_and_begins_a_new_life(
    bgworker: WorkerFactory, effects: Effects, gate: str
) -> None:
    frozen = bgworker(env=QUICK)
    job = tasks.wait_at_gate.enqueue(str(effects))
    wait_until(lambda: effects.texts == ["begin"])
    wait_for_maintenance()
    old = Worker.objects.get()
    family = frozen.family()
    stop(family)
    healthy = bgworker(env=QUICK)
    wait_until(lambda: effects.texts == ["begin", "begin"], timeout=8)
    assert outcomes(job) == ["crash"]
    if gate == "open":
        effects.open_gate()
        wait_for_state(job, "succeeded")
    for process in family:
        # The supervisor, once awake, kills the process before its turn comes here.
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()
    frozen.wait_for("it starts again with a new id")
    wait_until(lambda: not any(psutil.pid_exists(p.pid) for p in family if p.pid != frozen.pid))
    effects.open_gate()
    done = wait_for_state(job, "succeeded")
    wait_until(lambda: Worker.objects.filter(lost_at=None).count() == 2)
    assert done.attempt == 2
    assert done.worker not in (None, old.pk)
    assert outcomes(job) == ["crash"]

    assert healthy.stop() == 0
    again = wait_for_state(tasks.record.enqueue(str(effects), "again"), "succeeded")
    [alive] = Worker.objects.filter(lost_at=None, stopped_at=None)
    assert again.worker == alive.pk != old.pk
    frozen.send(signal.SIGTERM)
    assert frozen.wait(5) == 0


@pytest.mark.long(after=1)
@pytest.mark.parametrize("for_good", [False, True], ids=["for a while", "for good"])
def test_a_worker_whose_maintenance_stands_still_stops_its_jobs_before_others_take_them(
    bgworker: WorkerFactory, effects: Effects, for_good: bool
) -> None:
    worker = bgworker(env=QUICK)
    job = tasks.wait_at_gate.enqueue(str(effects))
    wait_until(lambda: effects.texts == ["begin"])
    wait_for_maintenance()
    [maintenance] = [p for p in psutil.Process(worker.pid).children() if p.pid != effects.pids[0]]
    stop([maintenance])
    worker.wait_for("interrupted in job", timeout=5)
    wait_until(lambda: not psutil.pid_exists(effects.pids[0]))
    if not for_good:
        maintenance.resume()
    wait_until(lambda: effects.texts == ["begin", "begin"], timeout=12)
    effects.open_gate()
    wait_for_state(job, "succeeded")
