"""However a task ends, its job tells of it, and its worker goes on."""

from __future__ import annotations

import pytest

from django_bgtasks.models import Attempt

from . import abuse_tasks, tasks
from .case import Case
from .unharmed import ended, keeps_its_limits, runs_the_next

pytestmark = pytest.mark.faults
long = pytest.mark.long

RAISED = [
    pytest.param("raises_unpicklable", "Unpicklable: <unlocked _thread.lock", marks=long),
    ("raises_unprintable", "Unprintable: <its __str__ raised KeyboardInterrupt>"),
    ("raises_nul", "ValueError: a NUL \ufffd, a lone surrogate ?, \x1b[31mred"),
    ("raises_50_mb", "ValueError: xxxx"),
    pytest.param("raises_50_mb_wide", "ValueError: \U0001f600", marks=long),
    pytest.param("raises_50_mb_of_notes", "ValueError: with notes", marks=long),
    pytest.param("raises_a_circle", "ValueError: first", marks=long),
    pytest.param("raises_a_long_chain", "ValueError: number 4999", marks=long),
    pytest.param("raises_deep_groups", "ExceptionGroup: around (1 sub-exception)", marks=long),
    pytest.param("runs_out_of_stack", "RecursionError: maximum recursion depth", marks=long),
    pytest.param("takes_all_memory", "MemoryError", marks=long),
    pytest.param("takes_all_memory_it_may_have", "MemoryError", marks=long),
]
LEFT = [
    ("raises_base_exception", "Unheard: of all"),
    ("raises_keyboard_interrupt", "KeyboardInterrupt"),
    ("raises_exit", "SystemExit: 0"),
    ("raises_exit_with_text", "SystemExit: the task is done with it"),
]
ENDED = [
    ("exits_0", "exited with code 0"),
    pytest.param("exits_1", "exited with code 1", marks=long),
    pytest.param("aborts", "killed by SIGABRT", marks=long),
    ("is_killed", "killed by SIGKILL"),
]
# Soft: the task hears of it. Hard: its process is killed `kill_after` (2 s) later.
ENDLESS = [
    pytest.param("loops", False, marks=long),
    ("swallows_the_timeout", True),
    pytest.param("blocks_all_signals", True, marks=long),
    pytest.param("hangs_with_the_gil", True, marks=long),
    pytest.param("hangs_while_it_is_described", True, marks=long),
]
TIMEOUT, KILLED_WITHIN = 0.5, 5.0


@pytest.mark.parametrize(("name", "says"), RAISED)
def test_whatever_a_task_raises_is_told_within_the_caps(case: Case, name: str, says: str) -> None:
    case.row("Tasks", f"Exceptions that are hard to describe, of {len(RAISED)} kinds")
    worker = case.worker()
    job = case.enqueue(abuse_tasks.misbehaves, name)
    failed = ended(case, job)
    assert (failed.state, failed.attempt) == ("failed", 1)
    assert failed.error.startswith(says)
    attempt = Attempt.objects.get(job__pk=job.id)
    assert attempt.outcome == "failed"
    assert "abuse_tasks.py" in attempt.traceback
    assert len(attempt.traceback) <= 64 * 1024
    assert worker.log.stat().st_size < 2**20
    assert runs_the_next(case, worker) == case.effects.of("begin", job.id)[0].pid


@pytest.mark.parametrize("task", [abuse_tasks.misbehaves, abuse_tasks.misbehaves_async])
@pytest.mark.parametrize(("name", "says"), LEFT)
@long
def test_a_task_that_wants_to_end_the_process_ends_its_job_only(
    case: Case, name: str, says: str, task: abuse_tasks.AnyTask
) -> None:
    case.row("Tasks", "SystemExit, KeyboardInterrupt and other BaseExceptions, also in coroutines")
    worker = case.worker()
    job = case.enqueue(task, name)
    failed = ended(case, job)
    assert (failed.state, failed.error) == ("failed", says)
    assert case.outcomes(job) == ["failed"]
    assert runs_the_next(case, worker) == case.effects.of("begin", job.id)[0].pid
    keeps_its_limits(case, worker)


@pytest.mark.parametrize(("name", "says"), ENDED)
def test_a_process_that_ends_in_the_task_is_a_crash_whatever_its_exit_code(
    case: Case, name: str, says: str
) -> None:
    case.row("Tasks", "A process that ends in the task: os._exit(0), os._exit(1), abort, SIGKILL")
    worker = case.worker()
    job = case.enqueue(abuse_tasks.misbehaves, name)
    failed = ended(case, job)
    assert failed.state == "failed"
    assert says in failed.error
    assert case.outcomes(job) == ["crash"] * 3
    assert case.effects.times("begin")[job.id] == 3
    runs_the_next(case, worker)


def test_poison_fails_at_its_maximum(case: Case) -> None:
    case.row("Tasks", "Poison: a segmentation fault at every attempt")
    worker = case.worker()
    job = case.enqueue(abuse_tasks.poison)
    failed = ended(case, job)
    assert (failed.state, failed.attempt, failed.max_attempts) == ("failed", 2, 2)
    assert "killed by SIGSEGV" in failed.error
    assert case.outcomes(job) == ["crash", "crash"]
    assert case.effects.times("begin")[job.id] == 2
    runs_the_next(case, worker)


@long
def test_a_process_that_terminates_itself_ends_after_its_job(case: Case) -> None:
    case.row("Tasks", "A task that sends SIGTERM to its own process")
    worker = case.worker()
    job = case.enqueue(abuse_tasks.misbehaves, "terminates_itself")
    assert ended(case, job).state == "succeeded"
    assert runs_the_next(case, worker) != case.effects.of("end", job.id)[0].pid
    keeps_its_limits(case, worker)


@pytest.mark.parametrize(("name", "hard"), ENDLESS)
def test_a_task_that_does_not_end_is_ended_within_5_s_of_its_timeout(
    case: Case, name: str, hard: bool
) -> None:
    case.row("Tasks", f"Tasks that do not end at their timeout, in {len(ENDLESS)} ways")
    worker = case.worker()
    job = case.enqueue(abuse_tasks.misbehaves, name, timeout=TIMEOUT)
    case.wait_until(lambda: case.effects.of("begin", job.id))
    failed = ended(case, job)
    took = case.now() - case.effects.of("begin", job.id)[0].at - TIMEOUT
    case.recovered(took, within=KILLED_WITHIN)
    assert failed.error.startswith("JobTimeout: ")
    assert case.outcomes(job) == ["timeout"]
    assert ("Killing job process" in worker.output) == hard
    following = case.enqueue(tasks.plain)
    assert ended(case, following).state == "succeeded"


@long
def test_a_log_line_of_64_mb_is_written_and_delays_nobody(case: Case) -> None:
    case.row("Tasks", "A log line of 64 MB")
    worker = case.worker("--processes", 2)
    job = case.enqueue(abuse_tasks.misbehaves, "logs_64_mb")
    assert ended(case, job).state == "succeeded"
    assert worker.log.stat().st_size > 64 * 2**20
    runs_the_next(case, worker)
    keeps_its_limits(case, worker)
