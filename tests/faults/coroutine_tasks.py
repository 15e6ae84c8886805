"""Coroutines that leave something to their neighbours: in the database, and on the event loop."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from asgiref.sync import async_to_sync, sync_to_async
from django.db import connection, transaction

from django_bgtasks import current_job, task
from django_bgtasks.jobs.context import JobContext
from tests.app.models import Note

from . import session_tasks
from .effects import VARIABLE, note

LEFT: dict[str, Callable[[], Awaitable[object]]] = {}
DONE: dict[str, Callable[[], Awaitable[object]]] = {}
_left: list[Any] = []


def leaves(act: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[object]]:
    """A way to leave a transaction open in which a note was written."""
    LEFT[act.__name__] = act
    return act


def does(act: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[object]]:
    """Something to do to the event loop."""
    DONE[act.__name__] = act
    return act


def begin() -> None:
    context = current_job()
    assert context is not None
    note("begin", str(context.job_id))


async def gate() -> None:
    """Wait until the test opens the gate."""
    while not Path(f"{os.environ[VARIABLE]}.gate").exists():
        await asyncio.sleep(0.01)


def execute(*statements: str) -> Any:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        return cursor.fetchone() if cursor.description else None


def write_in_begin() -> None:
    execute("BEGIN")
    Note.objects.create(text="left")


def in_block() -> None:
    block = transaction.atomic()
    block.__enter__()
    _left.append(block)


@task
async def signs_up(name: str) -> None:
    await Note.objects.acreate(text=name)


@task
async def signs_up_at_gate(name: str) -> None:
    """A note before the gate, and one behind it."""
    await Note.objects.acreate(text=f"{name} before")
    begin()
    await gate()
    await Note.objects.acreate(text=f"{name} after")


@task
async def transfers(commits: bool) -> None:
    """Has a transaction open while it awaits."""
    block = transaction.atomic()
    await sync_to_async(block.__enter__)()
    try:
        await Note.objects.acreate(text="transfer")
        begin()
        await gate()
        if not commits:
            raise ValueError("declined")
    except ValueError as error:
        await sync_to_async(block.__exit__)(ValueError, error, None)
        raise
    await sync_to_async(block.__exit__)(None, None, None)


@task
async def leaves_open(way: str) -> None:
    await LEFT[way]()


@task
async def calls(name: str, sensitive: bool) -> None:
    """Does what other tasks do to their session, and waits a moment."""
    kinds = {**session_tasks.LEFT_OPEN, **session_tasks.CHANGED}
    await sync_to_async(kinds[name], thread_sensitive=sensitive)()
    await asyncio.sleep(0.05)


@leaves
async def a_block() -> None:
    await sync_to_async(in_block)()
    await Note.objects.acreate(text="left")


@leaves
async def two_blocks() -> None:
    await a_block()
    await a_block()


@leaves
async def begin_in_sql() -> None:
    await sync_to_async(write_in_begin)()
    await asyncio.sleep(0.01)


@leaves
async def begin_and_raise() -> None:
    await sync_to_async(write_in_begin)()
    raise LookupError("no such customer")


@leaves
async def no_autocommit() -> None:
    await sync_to_async(transaction.set_autocommit)(False)
    await Note.objects.acreate(text="left")


@leaves
async def in_children() -> None:
    """Several things at once, in the database thread of their job."""
    await asyncio.gather(*(sync_to_async(in_block)() for _ in range(3)))
    await asyncio.gather(*(Note.objects.acreate(text="left") for _ in range(3)))


@leaves
async def in_any_thread() -> None:
    await asyncio.to_thread(write_in_begin)


@leaves
async def not_sensitive() -> None:
    await sync_to_async(write_in_begin, thread_sensitive=False)()


@leaves
async def in_a_coroutine_of_a_thread() -> None:
    async def write() -> None:
        await sync_to_async(in_block)()
        await Note.objects.acreate(text="left")

    await sync_to_async(async_to_sync(write))()


@leaves
async def to_a_task_that_goes_on() -> None:
    """The job ends while a task of its own is in the middle of its transaction."""
    await sync_to_async(in_block)()
    await Note.objects.acreate(text="left")
    _left.append(asyncio.create_task(asyncio.sleep(60)))


@task
async def goes_on_after_its_end(name: str) -> None:
    """A task of its own writes when the job is over, and leaves a transaction open."""

    async def later() -> None:
        await gate()
        await Note.objects.acreate(text=name)
        try:
            await sync_to_async(write_in_begin)()
        except RuntimeError as error:
            await Note.objects.acreate(text=f"{name}: {error}"[:40])
        await Note.objects.acreate(text=f"{name} at last")

    _left.append(asyncio.create_task(later()))


@task(takes_context=True)
async def tells_its_progress(context: JobContext) -> None:
    await context.aprogress(1, 2)
    await context.aheartbeat()
    assert not await context.acancelled()
    begin()
    await gate()
    await context.aprogress(2, 2)


@task
async def gathers() -> list[str]:
    """What it does at once is in one transaction, on one thread."""
    block = transaction.atomic()
    await sync_to_async(block.__enter__)()
    await asyncio.gather(*(Note.objects.acreate(text=f"piece {number}") for number in range(3)))
    await sync_to_async(block.__exit__)(None, None, None)
    threads = [sync_to_async(threading.get_ident)() for _ in range(3)]
    return sorted(set(map(str, await asyncio.gather(*threads))))


@task
async def reads_in_pieces() -> str:
    """Has a cursor open while it awaits."""
    number = 0
    async for _ in Note.objects.filter(text__startswith="row ").order_by("pk").aiterator(2):
        number += 1
        await asyncio.sleep(0)
        begin() if number == 1 else None
        await gate()
    return f"{number} rows"


@task
async def switches_its_schema() -> list[str]:
    """Its session is its own."""
    found = [await sync_to_async(execute)("SET search_path TO pg_catalog", "SHOW search_path")]
    begin()
    await gate()
    found.append(await sync_to_async(execute)("SHOW search_path"))
    return [path for (path,) in found]


@task
async def shows_its_schema() -> str:
    [path] = await sync_to_async(execute)("SHOW search_path")
    return str(path)


@task
async def names_its_session(seconds: float = 0.0) -> str:
    [pid] = await sync_to_async(execute)("SELECT pg_backend_pid()")
    await asyncio.sleep(seconds)
    return f"session {pid}"


def spins() -> None:
    """Python code, between two steps of which an exception can be raised."""
    begin()
    while True:
        time.sleep(0.01)


def queries_for_long() -> None:
    begin()
    execute("SELECT pg_sleep(3)")


@task
async def is_busy_in_its_thread(name: str) -> None:
    await sync_to_async({"spins": spins, "queries_for_long": queries_for_long}[name])()


@task
async def waits_at_gate() -> str:
    begin()
    await gate()
    await asyncio.sleep(0)
    return "through"


@task
async def does_to_the_loop(what: str) -> None:
    begin()
    await DONE[what]()


@does
async def stops_it() -> None:
    asyncio.get_running_loop().stop()


@does
async def stops_it_later() -> None:
    loop = asyncio.get_running_loop()
    loop.call_soon(loop.stop)
    await asyncio.sleep(0.05)


@does
async def stops_it_as_the_class_does() -> None:
    asyncio.BaseEventLoop.stop(asyncio.get_running_loop())  # type: ignore[arg-type]
    await asyncio.sleep(0.05)


@does
async def closes_it() -> None:
    asyncio.get_running_loop().close()


@does
async def shuts_its_threads_down() -> None:
    await asyncio.get_running_loop().shutdown_default_executor()


@does
async def runs_another_loop() -> None:
    asyncio.run(asyncio.sleep(0))


@does
async def sets_another_loop() -> None:
    asyncio._set_running_loop(asyncio.new_event_loop())


@does
async def sets_no_loop_and_awaits() -> None:
    future = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.2, future.set_result, None)
    asyncio._set_running_loop(None)
    await future


@does
async def sets_no_loop_in_a_task_of_its_own() -> None:
    """It does so again and again: between any two steps of its neighbours."""
    loop = asyncio.get_running_loop()

    async def again() -> None:
        for _ in range(50):
            future = loop.create_future()
            loop.call_soon(future.set_result, None)
            asyncio._set_running_loop(None)
            await future

    await loop.create_task(again())


@does
async def cancels_all_tasks() -> None:
    here = asyncio.current_task()
    for one in asyncio.all_tasks():
        if one is not here:
            one.cancel()


@does
async def exits_in_a_task_of_its_own() -> None:
    async def leave() -> None:
        sys.exit(3)

    await asyncio.create_task(leave())


@does
async def is_interrupted_in_a_task_of_its_own() -> None:
    async def interrupt() -> None:
        raise KeyboardInterrupt

    await asyncio.gather(interrupt(), asyncio.sleep(0.01))


@does
async def exits_in_a_callback() -> None:
    asyncio.get_running_loop().call_soon(sys.exit)
    await asyncio.sleep(0.05)


@does
async def exits_in_its_thread() -> None:
    await sync_to_async(sys.exit)(4)


@does
async def sets_another_task_factory() -> None:
    asyncio.get_running_loop().set_task_factory(None)


@task
async def breaks_the_loop() -> None:
    """What nothing can go on after."""
    begin()
    asyncio.get_running_loop()._selector.close()  # type: ignore[attr-defined]
    await asyncio.sleep(60)
