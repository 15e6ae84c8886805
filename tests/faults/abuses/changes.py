"""What a task changes in its process."""

from __future__ import annotations

import asyncio
import builtins
import gc
import inspect
import locale
import logging
import os
import signal
import socket
import sys
import tempfile
import threading

from ..effects import note
from .kinds import kind, left


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
