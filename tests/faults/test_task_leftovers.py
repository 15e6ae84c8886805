"""What a task leaves in its process must not reach the next one, nor the worker."""

from __future__ import annotations

import psutil
import pytest

from . import abuse_tasks, tasks
from .case import Case
from .unharmed import ended, keeps_its_limits, runs_the_next

pytestmark = pytest.mark.faults
long = pytest.mark.long

CHANGES = [
    "steals_signal_handlers",
    "closes_its_output",
    pytest.param("leaves_a_loop_running_here", marks=long),
    pytest.param("ignores_signals", marks=long),
    pytest.param("leaves_signals_blocked", marks=long),
    pytest.param("leaves_an_alarm", marks=long),
    pytest.param("leaves_a_loop_with_signal_handlers", marks=long),
    pytest.param("leaves_a_loop_running", marks=long),
    pytest.param("lowers_the_recursion_limit", marks=long),
    pytest.param("puts_a_file_in_place_of_its_output", marks=long),
    pytest.param("redirects_its_output", marks=long),
    pytest.param("silences_the_log", marks=long),
    pytest.param("stops_the_collector", marks=long),
    pytest.param("sets_a_tiny_socket_timeout", marks=long),
    pytest.param("goes_to_a_directory_that_is_removed", marks=long),
    pytest.param("changes_umask_and_locale", marks=long),
    pytest.param("empties_the_environment", marks=long),
    pytest.param("breaks_builtins", marks=long),
    pytest.param("runs_asyncio", marks=long),
]


@pytest.mark.long(after=1)
@pytest.mark.parametrize("name", CHANGES)
def test_a_task_that_changes_its_process_harms_neither_the_next_nor_a_stop(
    case: Case, name: str
) -> None:
    case.row("Tasks", f"Tasks that change their process, in {len(CHANGES)} ways")
    worker = case.worker()
    before = ended(case, case.enqueue(abuse_tasks.looks_around)).result
    job = case.enqueue(abuse_tasks.misbehaves, name)
    assert ended(case, job).state == "succeeded"
    assert ended(case, case.enqueue(abuse_tasks.looks_around)).result == before
    [end] = case.effects.of("end", job.id)
    following = runs_the_next(case, worker)
    assert following == end.pid, "another process ran the next job"
    keeps_its_limits(case, worker)
    assert not case.effects.of("stolen-signal")


@long
def test_a_task_that_closes_its_streams_costs_its_process_and_nothing_else(case: Case) -> None:
    case.row("Tasks", "A task that closes sys.stdout and sys.stderr")
    worker = case.worker()
    job = case.enqueue(abuse_tasks.misbehaves, "closes_its_streams")
    assert ended(case, job).state == "succeeded"
    assert runs_the_next(case, worker) != case.effects.of("end", job.id)[0].pid
    assert len(worker.family()) == 3
    keeps_its_limits(case, worker)


def test_a_task_that_closes_all_descriptors_is_a_crash_that_says_so(case: Case) -> None:
    case.row("Tasks", "A task that closes all descriptors of its process")
    worker = case.worker()
    job = case.enqueue(abuse_tasks.misbehaves, "closes_all_descriptors")
    failed = ended(case, job)
    assert failed.state == "failed"
    assert "descriptors" in failed.error
    assert set(case.outcomes(job)) == {"crash"}
    runs_the_next(case, worker)
    keeps_its_limits(case, worker)


@pytest.mark.parametrize(
    "task",
    [
        abuse_tasks.returns_twice,
        pytest.param(abuse_tasks.returns_twice_async, marks=long),
        pytest.param(abuse_tasks.returns_twice_atomically, marks=long),
    ],
    ids=lambda task: str(task.name),
)
def test_a_forked_copy_that_returns_from_the_task_is_no_second_worker(
    case: Case, task: abuse_tasks.AnyTask
) -> None:
    case.row("Tasks", "A task that forks and returns twice")
    worker = case.worker()
    job = case.enqueue(task)
    done = ended(case, job)
    assert (done.state, done.result) == ("succeeded", "the worker")
    assert len(worker.family()) == 3
    runs_the_next(case, worker)
    assert "no longer holds its claim" not in worker.output
    keeps_its_limits(case, worker)


@pytest.mark.parametrize(
    ("name", "code"),
    [("raises_exit", 0), ("raises_exit_with_text", 1), ("raises_base_exception", 1)],
)
@long
def test_a_forked_copy_that_raises_ends_with_the_exit_code_that_python_has_for_it(
    case: Case, name: str, code: int
) -> None:
    case.row("Tasks", "A task that forks and raises in the copy")
    worker = case.worker()
    job = case.enqueue(abuse_tasks.raises_in_the_copy, name)
    assert ended(case, job).result == f"the copy exited with {code}"
    runs_the_next(case, worker)
    keeps_its_limits(case, worker)


@pytest.mark.parametrize(
    ("task", "result"),
    [
        (abuse_tasks.queries_in_the_copy, "the copy exited with 0"),
        pytest.param(abuse_tasks.queries_in_a_pool, ["a", "b", "c", "d"], marks=long),
    ],
    ids=["fork", "pool"],
)
def test_a_database_connection_is_not_shared_with_a_fork(
    case: Case, task: abuse_tasks.AnyTask, result: object
) -> None:
    case.row("Tasks", "A task that forks and uses the database in both")
    worker = case.worker()
    job = case.enqueue(task)
    done = ended(case, job)
    assert (done.error, done.state, done.result) == ("", "succeeded", result)
    runs_the_next(case, worker)
    keeps_its_limits(case, worker)


@long
@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_pool_that_a_task_leaves_ends_with_its_process(case: Case, end: str) -> None:
    case.row("Tasks", "A pool of processes that a task leaves behind")
    worker = case.worker()
    job = case.enqueue(abuse_tasks.leaves_a_pool)
    assert ended(case, job).result == "2"
    pid = runs_the_next(case, worker)
    if end == "stop":
        assert case.stop(worker) == 0
        case.wait_until(lambda: not worker.family())
    else:
        psutil.Process(pid).kill()
        case.wait_until(lambda: len(worker.family()) == 3)


@long
def test_a_program_that_a_task_leaves_goes_on_and_holds_up_nothing(case: Case) -> None:
    case.row("Tasks", "A program that a task starts and leaves behind")
    worker = case.worker()
    job = case.enqueue(abuse_tasks.misbehaves, "leaves_a_program")
    program = psutil.Process(int(str(ended(case, job).result)))
    try:
        runs_the_next(case, worker)
        keeps_its_limits(case, worker)
        assert program.is_running()
    finally:
        program.kill()


@pytest.mark.parametrize("end", ["stop", pytest.param("burst", marks=long)])
def test_a_thousand_leaked_threads_hold_up_neither_the_next_job_nor_a_stop(
    case: Case, end: str
) -> None:
    case.row("Tasks", "1,000 threads that a task leaves behind")
    if end == "burst":
        job = case.enqueue(abuse_tasks.misbehaves, "leaks_1000_threads")
        worker = case.worker("--burst")
        case.may_end.add(worker.pid)
        assert worker.wait(20) == 0
        assert case.job(job).state == "succeeded"
        return
    worker = case.worker()
    job = case.enqueue(abuse_tasks.misbehaves, "leaks_1000_threads")
    assert ended(case, job).state == "succeeded"
    assert runs_the_next(case, worker) == case.effects.of("end", job.id)[0].pid
    keeps_its_limits(case, worker)


@long
@pytest.mark.parametrize("name", ["keeps_200_mb", "takes_all_memory_it_may_have"])
def test_a_process_that_holds_too_much_memory_is_replaced_between_jobs(
    case: Case, name: str
) -> None:
    case.row("Tasks", "Tasks that keep memory, with --max-memory")
    worker = case.worker("--max-memory", 200)
    job = case.enqueue(abuse_tasks.misbehaves, name)
    ended(case, job)
    [begin] = case.effects.of("begin", job.id)
    replaced = runs_the_next(case, worker, within=5.0) != begin.pid
    assert replaced == (name == "keeps_200_mb")
    keeps_its_limits(case, worker)


@long
def test_many_abuses_in_one_worker(case: Case) -> None:
    case.row("Tasks", "Tasks that change their process, all in one worker", times=len(CHANGES))
    worker = case.worker("--processes", 2)
    names = [getattr(change, "values", (change,))[0] for change in CHANGES]
    jobs = [case.enqueue(abuse_tasks.misbehaves, name) for name in names]
    normal = case.enqueue_many(tasks.plain, [()] * 20)
    case.wait_final()
    assert {case.job(job).state for job in [*jobs, *normal]} == {"succeeded"}
    runs_the_next(case, worker)
    keeps_its_limits(case, worker)
