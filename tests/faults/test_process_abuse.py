"""What tasks do to their process: a job inherits nothing of the one before, nor outlives it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import psutil
import pytest

from . import abuse_tasks
from .case import Case
from .unharmed import ended, keeps_its_limits, runs_the_next

pytestmark = pytest.mark.faults
long = pytest.mark.long

OF_A_THREAD = [
    "activates_a_language",
    pytest.param("activates_a_time_zone", marks=long),
    pytest.param("sets_the_url_conf", marks=long),
    pytest.param("sets_a_context_variable", marks=long),
    pytest.param("changes_the_decimal_context", marks=long),
    pytest.param("closes_the_loop_that_it_set", marks=long),
]
OF_THE_LOG = [
    "configures_the_log",
    pytest.param("configures_the_worker_s_log", marks=long),
    pytest.param("removes_log_handlers", marks=long),
]
OF_THE_PROCESS = [
    pytest.param("changes_its_locale", marks=long),
    pytest.param("makes_errors_of_warnings", marks=long),
    pytest.param("limits_its_seconds", marks=long),
    pytest.param("limits_its_memory_and_threads", marks=long),
    pytest.param("leaves_timers", marks=long),
    pytest.param("leaves_a_watchdog", marks=long),
    pytest.param("is_nice", marks=long),
    pytest.param("handles_quit_and_hang_up", marks=long),
]
WAYS = len(OF_A_THREAD) + len(OF_THE_LOG) + len(OF_THE_PROCESS)


@pytest.mark.long(after=1)
@pytest.mark.parametrize("name", [*OF_A_THREAD, *OF_THE_LOG, *OF_THE_PROCESS])
def test_a_job_inherits_nothing_of_the_one_before_it(case: Case, name: str) -> None:
    case.row("Isolation", f"Tasks that leave what the next job would inherit, in {WAYS} ways")
    worker = case.worker()
    before = ended(case, case.enqueue(abuse_tasks.looks_at_what_it_inherits)).result
    job = case.enqueue(abuse_tasks.misbehaves, name)
    assert ended(case, job).state == "succeeded"
    assert ended(case, case.enqueue(abuse_tasks.looks_at_what_it_inherits)).result == before
    [end] = case.effects.of("end", job.id)
    # It waits for the line in the worker's log, too.
    assert runs_the_next(case, worker) == end.pid
    keeps_its_limits(case, worker)


@pytest.mark.parametrize("name", [*OF_A_THREAD, *OF_THE_LOG])
def test_a_job_in_a_thread_inherits_nothing_of_the_one_before_it(case: Case, name: str) -> None:
    case.row("Isolation", "Tasks that leave what the next job would inherit, in threads")
    worker = case.worker("--threads", 2)
    before = ended(case, case.enqueue(abuse_tasks.looks_at_what_it_inherits)).result
    jobs = [case.enqueue(abuse_tasks.misbehaves, name) for _ in range(4)]
    assert {ended(case, job).state for job in jobs} == {"succeeded"}
    looks = [case.enqueue(abuse_tasks.looks_at_what_it_inherits) for _ in range(4)]
    assert [ended(case, look).result for look in looks] == [before] * 4
    runs_the_next(case, worker)
    assert case.stop(worker) == 0


def test_a_coroutine_inherits_nothing_of_the_others(case: Case) -> None:
    case.row("Isolation", "Coroutines that leave what others would inherit")
    worker = case.worker()
    names = [
        "activates_a_language",
        "activates_a_time_zone",
        "sets_a_context_variable",
        "changes_the_decimal_context",
    ]
    jobs = [case.enqueue(abuse_tasks.misbehaves_and_looks, name) for name in names]
    found: list[Any] = [ended(case, job).result for job in jobs]
    assert [seen["language"] for seen in found] == ["de", "en-us", "en-us", "en-us"]
    assert [seen["time zone"] for seen in found] == ["UTC", "Asia/Tokyo", "UTC", "UTC"]
    assert [seen["context variable"] for seen in found] == ["none", "none", "customer 17", "none"]
    assert [seen["decimals"] for seen in found] == [28, 28, 28, 3]
    runs_the_next(case, worker)
    assert case.stop(worker) == 0


@pytest.mark.parametrize("threads", [1, pytest.param(2, marks=long)])
def test_with_debug_the_queries_of_a_job_are_forgotten_before_the_next(
    case: Case, tmp_path: Path, threads: int
) -> None:
    case.row("Isolation", "Queries that Django keeps with DEBUG")
    (tmp_path / "debug_settings.py").write_text("from tests.settings import *\nDEBUG = True\n")
    env = {"PYTHONPATH": str(tmp_path), "DJANGO_SETTINGS_MODULE": "debug_settings"}
    worker = case.worker("--no-reload", "--threads", threads, env=env)
    for counts_queries in (abuse_tasks.counts_queries, abuse_tasks.counts_its_queries):
        counts = [ended(case, case.enqueue(counts_queries)).result for _ in range(4)]
        # The first one in its thread may open the connection.
        assert (counts[0] in {"3", "4"}, counts[1:]) == (True, ["3"] * 3)
    assert case.stop(worker) == 0


def test_a_cache_stays_open_for_the_next_job(case: Case) -> None:
    case.row("Isolation", "A cache that is the next job's too")
    worker = case.worker()
    answers = [ended(case, case.enqueue(abuse_tasks.asks_the_cache)).result for _ in range(3)]
    assert len(set(answers)) == 1
    assert case.stop(worker) == 0


def test_a_process_without_descriptors_is_replaced_and_its_neighbours_do_not_fail(
    case: Case,
) -> None:
    case.row("Isolation", "A task that leaks descriptors until there are none")
    worker = case.worker(within=("sh", "-c", 'ulimit -n 256; exec "$@"', "sh"))
    job = case.enqueue(abuse_tasks.misbehaves, "leaks_descriptors")
    assert ended(case, job).state == "succeeded"
    [end] = case.effects.of("end", job.id)
    assert runs_the_next(case, worker) != end.pid
    keeps_its_limits(case, worker)


@long
@pytest.mark.skipif(not shutil.which("setpriv"), reason="needs setpriv: root may raise any limit")
@pytest.mark.parametrize("name", ["lowers_a_limit_for_good", "is_nice"])
def test_a_process_whose_limits_are_lower_for_good_is_replaced(case: Case, name: str) -> None:
    case.row("Isolation", "A task that lowers a limit for good")
    worker = case.worker(within=("setpriv", "--bounding-set=-all", "--inh-caps=-all"))
    job = case.enqueue(abuse_tasks.misbehaves, name)
    assert ended(case, job).state == "succeeded"
    [end] = case.effects.of("end", job.id)
    assert runs_the_next(case, worker) != end.pid
    keeps_its_limits(case, worker)


@pytest.mark.parametrize(
    "name",
    [
        "leaves_a_daemon",
        "leaves_a_pool_executor",
        pytest.param("leaves_a_spawned_daemon", marks=long),
    ],
)
@pytest.mark.parametrize(
    "end", ["stop", pytest.param("recycling", marks=long), pytest.param("kill", marks=long)]
)
def test_a_process_that_a_task_leaves_ends_with_its_own(case: Case, name: str, end: str) -> None:
    if (name, end) == ("leaves_a_spawned_daemon", "kill"):
        pytest.skip("It has an interpreter of its own, and Python does not end it either.")
    case.row("Isolation", "Processes of multiprocessing that a task leaves behind, in 8 ways")
    worker = case.worker(*(["--max-jobs", 1] if end == "recycling" else []))
    job = case.enqueue(abuse_tasks.misbehaves, name)
    left = int(str(ended(case, job).result))
    [begin] = case.effects.of("begin", job.id)
    if end == "stop":
        assert psutil.pid_exists(left)
        assert case.stop(worker) == 0
    elif end == "kill":
        psutil.Process(begin.pid).kill()
    case.wait_until(lambda: not psutil.pid_exists(left), 5)
    if end != "stop":
        runs_the_next(case, worker)
        assert case.stop(worker) == 0
