"""Signals to a worker or its process group: each is a stop, or nothing; none is a job's fault."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Callable

import psutil
import pytest

from django_bgtasks.models import Job, Worker
from tests.selection import ALL
from tests.waiting import wait_until
from tests.workers import WorkerFactory, WorkerProcess

from . import tasks
from .conftest import Effects
from .jobs import outcomes, row, wait_for_state

Send = Callable[[WorkerProcess, signal.Signals], None]
# What the shell does before exec(): here no shell is needed.
NOHUP = ("nohup",)
TERMINAL = (sys.executable, "-c", "import pty, sys; pty.spawn(sys.argv[1:])")
IDLE_TALK = (
    signal.SIGTSTP,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGALRM,
    signal.SIGPIPE,
    signal.SIGWINCH,
    signal.SIGCONT,
)
# Longer than two of the same request may lie apart.
APART = 0.4


def to_group(worker: WorkerProcess, number: signal.Signals) -> None:
    os.killpg(worker.pid, number)


def to_all(worker: WorkerProcess, number: signal.Signals) -> None:
    for process in worker.family():
        process.send_signal(number)


def to_worker(worker: WorkerProcess, number: signal.Signals) -> None:
    worker.send(number)


each_address = pytest.mark.parametrize("send", [to_worker, to_group], ids=["worker", "group"])


@pytest.mark.long(after=2)
@each_address
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGQUIT], ids=lambda n: str(n.name))
def test_a_hang_up_and_a_quit_are_a_stop_in_which_running_jobs_finish(
    bgworker: WorkerFactory,
    effects: Effects,
    number: signal.Signals,
    send: Send,
) -> None:
    worker = bgworker()
    job = tasks.wait_at_gate_only_once.enqueue(str(effects))
    wait_until(lambda: effects.texts == ["begin"])
    send(worker, number)
    worker.wait_for("Stopping")
    effects.open_gate()
    assert worker.wait(10) == 0
    assert (row(job).state, outcomes(job)) == ("succeeded", [])
    assert "Traceback" not in worker.output


def test_under_nohup_a_hang_up_is_ignored_in_all_processes_and_in_what_tasks_start(
    bgworker: WorkerFactory, effects: Effects
) -> None:
    worker = bgworker(within=NOHUP)
    job = tasks.wait_at_gate_only_once.enqueue(str(effects))
    wait_until(lambda: effects.texts == ["begin"])
    pids = {process.pid for process in worker.family()}
    to_group(worker, signal.SIGHUP)
    to_all(worker, signal.SIGHUP)
    effects.open_gate()
    assert wait_for_state(job, "succeeded").attempt == 1
    starter = tasks.starts_a_program_that_asks_for.enqueue("SIGHUP")
    assert wait_for_state(starter, "succeeded").result == "SIG_IGN"
    assert {process.pid for process in worker.family()} == pids
    assert worker.stop() == 0


def test_when_its_terminal_is_closed_the_running_job_is_finished_whatever_it_prints(
    bgworker: WorkerFactory, effects: Effects
) -> None:
    worker = bgworker(within=TERMINAL)
    job = tasks.prints_at_gate.enqueue(str(effects))
    wait_until(lambda: effects.texts == ["begin"])
    # What runs in it outlives it, and has nothing to write to any more.
    worker.process.kill()
    worker.process.wait()
    effects.open_gate()
    assert wait_for_state(job, "succeeded").attempt == 1
    wait_until(lambda: not worker.family())
    assert Worker.objects.get().stopped_at is not None


@pytest.mark.long(after=1)
@each_address
def test_a_signal_that_asks_for_nothing_changes_nothing(
    bgworker: WorkerFactory, effects: Effects, send: Send
) -> None:
    worker = bgworker()
    job = tasks.wait_at_gate_only_once.enqueue(str(effects))
    wait_until(lambda: effects.texts == ["begin"])
    pids = {process.pid for process in worker.family()}
    for number in IDLE_TALK:
        send(worker, number)
    wait_until(lambda: psutil.STATUS_STOPPED not in {p.status() for p in worker.family()})
    effects.open_gate()
    done = wait_for_state(job, "succeeded")
    assert (done.attempt, outcomes(job)) == (1, [])
    for number in IDLE_TALK:
        send(worker, number)
        # Whoever stands still or has ended does not run this.
        wait_for_state(tasks.record.enqueue(str(effects), number.name), "succeeded")
    assert {process.pid for process in worker.family()} == pids
    assert worker.stop() == 0


@pytest.mark.long(after=1)
@pytest.mark.parametrize(
    ("first", "second"),
    [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGTERM)],
)
def test_who_asks_a_second_time_gets_the_running_jobs_released_in_a_second(
    bgworker: WorkerFactory, effects: Effects, first: signal.Signals, second: signal.Signals
) -> None:
    worker = bgworker("--grace", 60)
    job = tasks.wait_at_gate.enqueue(str(effects))
    wait_until(lambda: effects.texts == ["begin"])
    to_group(worker, first)
    worker.wait_for("Stopping: running jobs have 60 s to finish. Asked again, 1 s.")
    time.sleep(APART)
    to_group(worker, second)
    worker.wait_for("Asked again to stop")
    assert worker.wait(10) == 0
    assert (row(job).state, row(job).attempt, outcomes(job)) == ("queued", 0, [])


def test_one_request_that_comes_twice_at_once_does_not_shorten_the_grace(
    bgworker: WorkerFactory, effects: Effects
) -> None:
    """A terminal tells the whole group of Ctrl-C, and then a process manager tells its own."""
    worker = bgworker("--grace", 60)
    job = tasks.wait_at_gate_only_once.enqueue(str(effects))
    wait_until(lambda: effects.texts == ["begin"])
    to_group(worker, signal.SIGINT)
    worker.send(signal.SIGTERM)
    worker.wait_for("Stopping")
    # As long as a shortened grace would have lasted.
    time.sleep(1.5)
    assert "Asked again to stop" not in worker.output
    effects.open_gate()
    assert worker.wait(10) == 0
    assert row(job).state == "succeeded"


@pytest.mark.parametrize(
    ("options", "number"),
    [
        pytest.param([], signal.SIGTERM, id="plain"),
        pytest.param(["--reload"], signal.SIGINT, id="reload", marks=pytest.mark.long),
    ],
)
def test_a_stop_at_any_moment_of_the_start_leaves_no_traceback(
    bgworker: WorkerFactory, options: list[str], number: signal.Signals
) -> None:
    """The moments are spread over the start; before Django is set up there is nothing of ours."""
    start = time.monotonic()
    whole = bgworker(*options, fresh=True)
    whole.wait_for(re.compile(r"^  database", re.MULTILINE))
    seconds = time.monotonic() - start
    whole.kill()
    for share in (0.6, 0.8, 0.9, 1.0, 1.1) if ALL else (0.8, 1.0):
        worker = bgworker(*options, fresh=True)
        time.sleep(share * seconds)
        to_group(worker, number)
        code = worker.wait(10)
        assert "Traceback" not in worker.output or "django_bgtasks" not in worker.output
        if "  database" in worker.output:
            assert code == 0
            assert "Traceback" not in worker.output
    assert not Job.objects.exists()


def test_a_stop_while_the_database_is_looked_at_ends_with_0(bgworker: WorkerFactory) -> None:
    worker = bgworker(env={"BGTASKS_TEST_DB_NAME": "/no/where/db"})
    worker.wait_for("The database does not answer")
    to_group(worker, signal.SIGINT)
    assert worker.wait(5) == 0
    assert "Traceback" not in worker.output
    assert "looking again" not in worker.output


@pytest.mark.long
@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)]
)
def test_with_reload_a_stop_of_the_group_is_one_request(
    bgworker: WorkerFactory, effects: Effects, number: signal.Signals
) -> None:
    worker = bgworker("--reload", "--grace", 60)
    job = tasks.wait_at_gate_only_once.enqueue(str(effects))
    wait_until(lambda: effects.texts == ["begin"])
    to_group(worker, number)
    worker.wait_for("Stopping")
    time.sleep(1.5)
    effects.open_gate()
    assert worker.wait(10) == 0
    assert row(job).state == "succeeded"
    assert "Traceback" not in worker.output
