"""Tasks that do what no task should: each kind is a function of no arguments, run by `misbehaves`.

`misbehaves` says in the effects log that it began and, if it came so far, that it ended.
"""

from __future__ import annotations

import asyncio
import builtins
import ctypes
import gc
import inspect
import locale
import logging
import mmap
import multiprocessing
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

from django.db import connection, transaction

from django_bgtasks import Retry, current_job, task
from django_bgtasks.core.errors import Interruption
from django_bgtasks.core.tasks import BackgroundTask

from .effects import note

Kind = Callable[[], object]
AnyTask = BackgroundTask[Any, Any]
KINDS: dict[str, Kind] = {}
MIB = 2**20
# What a task leaves to the next one is kept from the collector here.
left: list[object] = []


def kind(function: Kind) -> Kind:
    KINDS[function.__name__] = function
    return function


def begin() -> str:
    context = current_job()
    assert context is not None
    note("begin", str(context.job_id))
    return str(context.job_id)


@task
def misbehaves(name: str) -> Any:
    job = begin()
    value = KINDS[name]()
    note("end", job)
    return value


@task
async def misbehaves_async(name: str) -> Any:
    return misbehaves.func(name)


@task(retry=Retry(max_attempts=2, delays=[0], jitter=0))
def poison() -> None:
    """Its process dies every time."""
    begin()
    ctypes.string_at(0)


@task
def takes(value: Any) -> str:
    begin()
    return type(value).__name__


@task
def looks_around() -> dict[str, Any]:
    """What it finds in its process."""
    umask = os.umask(0o077)
    os.umask(umask)
    return {
        "directory": os.getcwd(),  # noqa: PTH109
        "umask": umask,
        "streams": sys.stdout is sys.__stdout__ and sys.stderr is sys.__stderr__,
        "collector": gc.isenabled(),
        "recursion": sys.getrecursionlimit(),
        "log": logging.root.manager.disable,
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "child": signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL,
    }


@task
def naps() -> None:
    begin()
    time.sleep(60)


# What it raises.


class Unpicklable(Exception):
    def __init__(self) -> None:
        super().__init__(threading.Lock())

    def __reduce__(self) -> NoReturn:
        raise TypeError("not by pickle")


class Unprintable(Exception):
    def __str__(self) -> NoReturn:
        raise KeyboardInterrupt("not even this")

    __repr__ = __str__


class Unheard(BaseException):
    """Not an Exception."""


@kind
def raises_unpicklable() -> None:
    raise Unpicklable


@kind
def raises_unprintable() -> None:
    raise Unprintable


@kind
def raises_base_exception() -> None:
    raise Unheard("of all")


@kind
def raises_keyboard_interrupt() -> None:
    raise KeyboardInterrupt


@kind
def raises_exit() -> None:
    sys.exit(0)


@kind
def raises_exit_with_text() -> None:
    sys.exit("the task is done with it")


@kind
def raises_nul() -> None:
    raise ValueError("a NUL \0, a lone surrogate \ud800, \x1b[31mred\r\nand more")


@kind
def raises_50_mb() -> None:
    raise ValueError("x" * (50 * MIB))


@kind
def raises_50_mb_wide() -> None:
    """Each character takes 4 bytes of memory, and there are 10 MB of lines."""
    raise ValueError("\U0001f600\n" * (10 * MIB))


@kind
def raises_50_mb_of_notes() -> None:
    error = ValueError("with notes")
    error.add_note("y" * (50 * MIB))
    raise error


@kind
def raises_a_circle() -> None:
    """Each is the cause of the other."""
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    raise first


@kind
def raises_a_long_chain() -> None:
    """Longer than the recursion limit."""
    error: Exception | None = None
    for number in range(5000):
        following = ValueError(f"number {number}")
        following.__cause__, error = error, following
    assert error is not None
    raise error


@kind
def raises_deep_groups() -> None:
    error: Exception = ValueError("the innermost")
    for _ in range(2000):
        error = ExceptionGroup("around", [error])
    raise error


@kind
def runs_out_of_stack() -> object:
    return runs_out_of_stack()


# What it returns.


@kind
def returns_nul() -> str:
    return "a\0b"


@kind
def returns_surrogate() -> dict[str, str]:
    return {"a": "\udfff"}


@kind
def returns_nan() -> list[float]:
    return [float("nan")]


@kind
def returns_object() -> object:
    return object()


@kind
def returns_10_mb() -> str:
    return "x" * (10 * MIB)


@kind
def returns_bytes() -> bytes:
    return b"\xff\xfe"


@kind
def returns_itself() -> list[Any]:
    circle: list[Any] = []
    circle.append(circle)
    return circle


# How its process ends.


@kind
def exits_0() -> None:
    os._exit(0)


@kind
def exits_1() -> None:
    os._exit(1)


@kind
def aborts() -> None:
    os.abort()


@kind
def is_killed() -> None:
    """As the kernel does to one that holds too much memory."""
    os.kill(os.getpid(), signal.SIGKILL)


@kind
def terminates_itself() -> None:
    """A stop of this process alone: it ends after the job, and another takes its place."""
    os.kill(os.getpid(), signal.SIGTERM)


# What does not end.


@kind
def loops() -> None:
    while True:
        pass


@kind
def swallows_the_timeout() -> None:
    while True:
        with suppress(Interruption):
            time.sleep(0.05)


@kind
def blocks_all_signals() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    time.sleep(60)


@kind
def hangs_with_the_gil() -> None:
    """No Python code runs any more, in no thread."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    ctypes.PyDLL(None).sleep(60)


@kind
def hangs_while_it_is_described() -> None:
    class Endless(Exception):
        def __str__(self) -> str:
            time.sleep(60)
            return "at last"

    raise Endless


# How much it takes.


@kind
def takes_all_memory() -> None:
    left.append(bytearray(2**50))


@kind
def takes_all_memory_it_may_have() -> None:
    """With a limit of the kernel; the limit stays."""
    used = int(open("/proc/self/statm").read().split()[0]) * mmap.PAGESIZE  # noqa: PTH123, SIM115
    resource.setrlimit(resource.RLIMIT_AS, (used + 64 * MIB, resource.RLIM_INFINITY))
    hoard = []
    while True:
        hoard.append(bytearray(4 * MIB))


@kind
def keeps_200_mb() -> None:
    left.append(bytearray(b"x") * (200 * MIB))


@kind
def leaks_1000_threads() -> None:
    """Not even daemons: an interpreter would wait for them at its end."""
    for _ in range(1000):
        threading.Thread(target=time.sleep, args=(600,)).start()


@kind
def logs_64_mb() -> None:
    logging.getLogger("django_bgtasks").warning("%s", "x" * (64 * MIB))


@kind
def leaves_a_program() -> str:
    program = subprocess.Popen(["sleep", "600"])
    left.append(program)
    return str(program.pid)


# What it changes in its process.


@kind
def steals_signal_handlers() -> None:
    for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGCHLD):
        signal.signal(number, lambda *_: note("stolen-signal", "-"))


@kind
def ignores_signals() -> None:
    for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)


@kind
def leaves_signals_blocked() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


@kind
def leaves_an_alarm() -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(1)


@kind
def leaves_a_loop_with_signal_handlers() -> None:
    loop = asyncio.new_event_loop()
    loop.add_signal_handler(signal.SIGTERM, print)
    loop.add_signal_handler(signal.SIGUSR1, print)
    left.append(loop)


@kind
def lowers_the_recursion_limit() -> None:
    """To what is left for the task itself: a settlement needs more."""
    sys.setrecursionlimit(len(inspect.stack(0)) + 20)


@kind
def closes_its_output() -> None:
    os.close(1)
    os.close(2)


@kind
def closes_its_streams() -> None:
    sys.stdout.close()
    sys.stderr.close()


@kind
def closes_all_descriptors() -> None:
    os.closerange(0, 20_000)


@kind
def puts_a_file_in_place_of_its_output() -> None:
    file, _ = tempfile.mkstemp()
    os.dup2(file, 1)
    os.dup2(file, 2)


@kind
def redirects_its_output() -> None:
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115


@kind
def silences_the_log() -> None:
    logging.disable(logging.CRITICAL)


@kind
def stops_the_collector() -> None:
    gc.disable()


@kind
def sets_a_tiny_socket_timeout() -> None:
    socket.setdefaulttimeout(0.000_001)


@kind
def goes_to_a_directory_that_is_removed() -> None:
    directory = tempfile.mkdtemp()
    os.chdir(directory)
    os.rmdir(directory)  # noqa: PTH106


@kind
def changes_umask_and_locale() -> None:
    os.umask(0o777)
    locale.setlocale(locale.LC_ALL, "C")


@kind
def empties_the_environment() -> None:
    keep = {name: os.environ[name] for name in os.environ if name.startswith("BGTASKS_TEST_")}
    os.environ.clear()
    os.environ.update(keep)


@kind
def breaks_builtins() -> None:
    builtins.print = None  # type: ignore[assignment]


@kind
def runs_asyncio() -> str:
    async def answer() -> str:
        await asyncio.sleep(0.01)
        return "from asyncio"

    return asyncio.run(answer())


@kind
def leaves_a_loop_running() -> None:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    asyncio.set_event_loop(loop)
    left.append(loop)


@kind
def leaves_a_loop_running_here() -> None:
    """As a generator does that was never closed."""
    asyncio._set_running_loop(asyncio.new_event_loop())


# How it forks.


@task
def returns_twice() -> str:
    """The copy goes back to where the worker called the task."""
    job = begin()
    if os.fork() == 0:
        return "the copy"
    os.wait()
    note("end", job)
    return "the worker"


@task
async def returns_twice_async() -> Any:
    return returns_twice.func()


@task(atomic=True)
def returns_twice_atomically() -> Any:
    return returns_twice.func()


@task
def raises_in_the_copy(name: str) -> str:
    job = begin()
    if os.fork() == 0:
        KINDS[name]()
    _, status = os.wait()
    note("end", job)
    return f"the copy exited with {os.waitstatus_to_exitcode(status)}"


@task
def queries_in_the_copy() -> str:
    """The copy asks the database a hundred times, and so does the worker, at once."""
    job = begin()
    if os.fork() == 0:
        _ask_the_database("copy")
        os._exit(0)
    _ask_the_database("worker")
    _, status = os.wait()
    note("end", job)
    return f"the copy exited with {os.waitstatus_to_exitcode(status)}"


@task
def queries_in_a_pool() -> list[str]:
    """As a task does that speeds up a loop over rows."""
    job = begin()
    with multiprocessing.get_context("fork").Pool(2) as pool:
        answers = pool.map(_ask_the_database, ["a", "b", "c", "d"])
    note("end", job)
    return answers


@task
def leaves_a_pool() -> str:
    begin()
    pool = multiprocessing.get_context("fork").Pool(2)
    left.append(pool)
    return str(pool.apply(len, [[1, 2]]))


def _ask_the_database(text: str) -> str:
    for number in range(100):
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT %s", [f"{text} {number}"])
            [answer] = cursor.fetchone()
            assert answer == f"{text} {number}"
    return text
