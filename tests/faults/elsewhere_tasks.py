"""Tasks of which other systems have bug reports: what they do is no abuse, and goes wrong there."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import sleep
from typing import Any

from asgiref.sync import sync_to_async

from django_bgtasks import Retry, current_job, task
from tests.app.models import Note

ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE)
ERRORS: dict[str, type[BaseException]] = {
    "TimeoutError": TimeoutError,
    "CancelledError": asyncio.CancelledError,
    "StopAsyncIteration": StopAsyncIteration,
    "GeneratorExit": GeneratorExit,
    "EOFError": EOFError,
}


def held_back(pid: int) -> list[str]:
    """The signals by which programs are ended, and this one cannot be: it blocks or ignores them.

    Empty where there is no /proc to ask.
    """
    status = Path(f"/proc/{pid}/status")
    lines = [line.split() for line in status.read_text().splitlines()] if status.exists() else []
    sets = [int(line[1], 16) for line in lines if line[0] in ("SigBlk:", "SigIgn:")]
    return [number.name for number in ENDS for mask in sets if mask >> (number - 1) & 1]


@task
def ends_a_program() -> list[Any]:
    program = subprocess.Popen(["sleep", "60"])
    signals = held_back(program.pid)
    program.terminate()
    return [*signals, program.wait(5)]


@task
async def ends_a_program_async() -> list[Any]:
    program = await asyncio.create_subprocess_exec("sleep", "60")
    signals = held_back(program.pid)
    program.terminate()
    return [*signals, await asyncio.wait_for(program.wait(), 5)]


@task
def ends_a_process(method: str) -> list[Any]:
    context: Any = multiprocessing.get_context(method)
    codes = set()
    for _ in range(20 if method == "fork" else 1):
        process = context.Process(target=sleep, args=(60,))
        process.start()
        # At once, for that is when it may be lost.
        process.terminate()
        process.join(5)
        codes.add(process.exitcode)
        process.kill()
    return [*codes]


@task
def lends_its_output() -> list[int]:
    """Programs write where the worker does."""
    subprocess.run(["echo", "from a program"], stdout=sys.stdout, stderr=sys.stderr, check=True)
    return [sys.stdout.fileno(), sys.stderr.fileno()]


def fail(name: str) -> None:
    raise ERRORS[name]


@task
async def raises(name: str) -> None:
    fail(name)


@task
async def raises_in_its_thread(name: str) -> None:
    await sync_to_async(fail)(name)


@task
async def raises_in_any_thread(name: str) -> None:
    await asyncio.to_thread(fail, name)


@task
async def tidies_up() -> None:
    """What it awaits after it was interrupted is still done."""
    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0.05)
        await Note.objects.acreate(text="tidy")


@task
def asks() -> str:
    return f"{Note.objects.count()} notes"


@task
async def asks_async() -> str:
    return f"{await Note.objects.acount()} notes"


@task
async def asks_in_any_thread() -> str:
    return str(await asyncio.to_thread(asks.func))


@task
async def asks_not_sensitive() -> str:
    return str(await sync_to_async(asks.func, thread_sensitive=False)())


@task
def asks_in_a_pool() -> list[str]:
    """As a task does that waits for several queries at once."""

    def ask(_number: int) -> str:
        # Else one thread could do all of it.
        sleep(0.01)
        return str(asks.func())

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(ask, range(8)))


@task
async def counts_descriptors() -> str:
    return str(len(os.listdir("/proc/self/fd")))  # noqa: PTH208


@task(retry=Retry(max_attempts=2, delays=[0], jitter=0))
def changes_its_arguments(items: list[Any], options: dict[str, Any]) -> list[Any]:
    seen = [list(items), dict(options)]
    items.append("changed")
    options["changed"] = True
    context = current_job()
    assert context is not None
    if context.attempt == 1:
        raise ValueError("again")
    return seen
