"""Tasks that behave well and badly. What they did stands in an append-only file, `log`."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from asgiref.sync import sync_to_async
from django.db import transaction

from django_bgtasks import Retry, RetryLater, task
from django_bgtasks.core.errors import Interruption
from tests.app.models import Note

AT_ONCE = Retry(max_attempts=5, delays=[0], jitter=0)


def note(log: str, text: str) -> None:
    """One line, in one write: several processes append to this file."""
    with Path(log).open("a") as effects:
        effects.write(f"{text} {os.getpid()}\n")


def began_before(log: str) -> bool:
    """Whether an attempt has begun already; this one begins now."""
    before = Path(log).exists() and "begin" in Path(log).read_text()
    note(log, "begin")
    return before


@task
def record(log: str, text: str) -> int:
    note(log, text)
    return os.getpid()


@task
def ask_for_later(log: str, seconds: float) -> None:
    """The first time."""
    if not began_before(log):
        raise RetryLater(seconds)


@task(atomic=True, retry=Retry(max_attempts=50, delays=[0.1], on=()))
def count_notes() -> int:
    """Reads what its neighbours write: at some isolation levels one of them has to run again."""
    from tests.app.models import Note

    number: int = Note.objects.count()
    Note.objects.create(text=str(number))
    return number


@task(dedup_key="{text}")
def record_keyed(log: str, text: str) -> None:
    note(log, text)


@task(sequence="records", on_failed="skip")
def record_in_turn(log: str, text: str) -> None:
    note(log, text)


@task(retry=AT_ONCE)
def fail_once_each(log: str, number: int) -> None:
    text = f"tried {number} "
    before = Path(log).exists() and text in Path(log).read_text()
    note(log, text)
    if not before:
        raise ValueError("not yet")


@task(on_crash="fail")
def record_only_once(log: str, text: str) -> None:
    note(log, text)


@task(queue_name="emails")
def record_email(log: str, text: str) -> None:
    note(log, text)


@task(retry=AT_ONCE)
def wait_at_gate(log: str) -> str:
    """Runs until the test opens the gate."""
    note(log, "begin")
    while not Path(f"{log}.gate").exists():
        time.sleep(0.01)
    note(log, "end")
    return "through"


@task(on_crash="fail")
def wait_at_gate_only_once(log: str) -> None:
    wait_at_gate.func(log)


@task
def sleep_without_mercy(log: str) -> None:
    """Neither a timeout nor a cancellation stops it."""
    note(log, "begin")
    while True:
        with suppress(Interruption):
            time.sleep(0.05)


@task(retry=AT_ONCE)
def swallow_once(log: str) -> str:
    if not began_before(log):
        sleep_without_mercy.func(log)
    return "second"


@task
def keeps_the_database(log: str, seconds: float) -> None:
    """A transaction that writes at its beginning."""
    with transaction.atomic():
        Note.objects.create(text="kept")
        note(log, "begin")
        time.sleep(seconds)


@task
def sleep(log: str) -> None:
    note(log, "begin")
    time.sleep(60)


@task
def spin(log: str) -> None:
    note(log, "begin")
    while True:
        pass


@task
def hang_in_c(log: str) -> None:
    """No Python code runs any more: the call holds the GIL and no signal ends it."""
    note(log, "begin")
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM, signal.SIGUSR1, signal.SIGTERM})
    ctypes.PyDLL(None).sleep(60)


@task
async def sleep_async(log: str) -> None:
    note(log, "begin")
    await asyncio.sleep(60)


@task
def exit_once(log: str) -> str:
    """Ends its process with the exit code of success, the first time."""
    if not began_before(log):
        os._exit(0)
    return "second"


@task(retry=Retry(max_attempts=10))
def crash_always(log: str) -> None:
    note(log, "begin")
    ctypes.string_at(0)


@task(retry=Retry(max_attempts=3, delays=[1.0], jitter=0))
def fail_once(log: str) -> str:
    if not began_before(log):
        raise ValueError("not yet")
    return "second"


@task(takes_context=True)
def attempt_number(context: Any, log: str) -> int:
    number: int = context.attempt
    note(log, f"attempt {number}")
    return number


@task(retry=Retry(max_attempts=6, delays=[0.7], jitter=0), takes_context=True)
def fails_five_times(context: Any) -> int:
    """Takes longer than a process spares a Redis that is away."""
    attempt: int = context.attempt
    if attempt <= 5:
        raise ValueError("not yet")
    return attempt


@task
def nap(log: str, text: str, seconds: float) -> None:
    """Says when it begins, and sleeps."""
    note(log, f"{text}@{time.monotonic():.3f}")
    time.sleep(seconds)


@task(retry=AT_ONCE)
def kill_once(log: str) -> str:
    """Takes its process with it, the first time."""
    if not began_before(log):
        os.kill(os.getpid(), signal.SIGKILL)
    return "second"


@task(retry=AT_ONCE)
async def wait_at_gate_async(log: str, name: str = "") -> str:
    """Waits, as a coroutine, until the test opens the gate."""
    note(log, f"begin{name}")
    while not Path(f"{log}.gate").exists():
        await asyncio.sleep(0.01)
    note(log, f"end{name}")
    return "through"


@task(retry=AT_ONCE)
async def block_the_loop_once(log: str) -> str:
    """What a coroutine must not do: no other one gets on meanwhile."""
    if f"block {os.getpid()}" not in Path(log).read_text() and "block" in Path(log).read_text():
        return "second"
    note(log, "block")
    while True:
        with suppress(Interruption):
            time.sleep(0.05)


_together = asyncio.Event()


@task
async def block_the_loop_together(log: str, seconds: float) -> None:
    """With the others, in one turn of the loop, when one opens the way."""
    note(log, "begin")
    await _together.wait()
    time.sleep(seconds)


@task
async def block_the_loop_now() -> None:
    _together.set()


@task(retry=AT_ONCE)
async def kill_once_async(log: str) -> str:
    if "kill" not in Path(log).read_text():
        note(log, "kill")
        os.kill(os.getpid(), signal.SIGKILL)
    note(log, "survived")
    return "second"


@task
async def use_the_ledger(log: str) -> int:
    """The ORM and the context as a coroutine has them."""
    from django_bgtasks.models import Job

    note(log, "begin")
    return await Job.objects.filter(task__endswith="use_the_ledger").acount()


@task(takes_context=True)
async def tell_and_ask(context: Any, log: str) -> Any:
    await context.aprogress(1, 2, "half")
    await context.aheartbeat()
    first = await context.aonce("effect", note, log, "effect")
    await context.aonce("effect", note, log, "effect")
    return first


@task
async def clean_up_async(log: str) -> None:
    """What it does at its end takes a while."""
    note(log, "begin")
    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0.7)
        note(log, "clean")


async def _block(log: str) -> None:
    note(log, "block")
    while True:
        with suppress(Interruption):
            time.sleep(0.05)


@task(retry=AT_ONCE)
async def block_in_a_task_of_its_own_once(log: str) -> str:
    """As block_the_loop_once(), in one of several things that it does at once."""
    if "block" in Path(log).read_text():
        return "second"
    await asyncio.gather(_block(log), asyncio.sleep(60))
    return "first"


@task
async def hold_the_orm_thread(log: str) -> None:
    """What a slow query does."""
    note(log, "hold")
    await sync_to_async(wait_at_gate.func)(log)


@task
async def record_async(log: str, text: str) -> None:
    note(log, text)


@task(takes_context=True, retry=AT_ONCE)
def fail_at_first(context: Any, log: str) -> int:
    return int(_fail_at_first(context, log))


@task(takes_context=True, retry=AT_ONCE)
async def fail_at_first_async(context: Any, log: str) -> int:
    return int(_fail_at_first(context, log))


def _fail_at_first(context: Any, log: str) -> int:
    note(log, f"{context.job_id}-{context.attempt}")
    if context.attempt == 1:
        raise ValueError("not yet")
    return int(context.attempt)


@task
def starts_a_program_that_asks_for(name: str) -> str:
    """What a program that a task starts finds as its handler of a signal."""
    code = f"import signal; print(signal.getsignal(signal.{name}).name)"
    return subprocess.check_output([sys.executable, "-c", code], text=True).strip()


@task
def exit_code_of_a_process_that_it_forks() -> int | None:
    process = multiprocessing.get_context("fork").Process(target=os.getpid)
    process.start()
    process.join()
    return process.exitcode


@task(on_crash="fail")
def prints(log: str, characters: int) -> None:
    """On both streams, more than a buffer may hold."""
    note(log, "begin")
    for stream in (sys.stdout, sys.stderr):
        print("x" * characters, file=stream)
        print(file=stream, flush=True) if characters > 1000 else None


@task
def standard_files() -> list[str]:
    """What is behind the descriptors 0 to 2."""
    return [str(Path(f"/proc/self/fd/{number}").readlink()) for number in range(3)]


@task
def logs(text: str) -> None:
    logging.getLogger("shop").setLevel(logging.INFO)
    logging.getLogger("shop").info(text)


@task
def removes_its_directory() -> str:
    """Where it is, which is no more."""
    directory = os.getcwd()  # noqa: PTH109
    shutil.rmtree(directory)
    return directory


@task
def where() -> str:
    return os.getcwd()  # noqa: PTH109


@task(on_crash="fail")
def logs_and_goes_on(log: str) -> None:
    """Until it is killed."""
    logging.getLogger("shop").setLevel(logging.INFO)
    logging.getLogger("shop").info("before it is killed")
    print("printed by it")
    sleep_without_mercy.func(log)


@task(on_crash="fail")
def prints_at_gate(log: str) -> None:
    wait_at_gate.func(log)
    for stream in (sys.stdout, sys.stderr):
        print("x" * 100_000, file=stream, flush=True)
