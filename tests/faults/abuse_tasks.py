"""Tasks that do what no task should: each kind is a function of no arguments, run by `misbehaves`.

`misbehaves` says in the effects log that it began and, if it came so far, that it ended.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import multiprocessing
import os
import signal
import sys
import time
from typing import Any

from asgiref.sync import sync_to_async
from django.core.cache import cache, caches
from django.db import connection, transaction

from django_bgtasks import Retry, current_job, task
from django_bgtasks.jobs.task import BackgroundTask
from django_bgtasks.models import Job

from .abuses import KINDS, left
from .abuses.inheritance import inherited
from .effects import note

AnyTask = BackgroundTask[Any, Any]


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
def looks_at_what_it_inherits() -> dict[str, Any]:
    return inherited()


@task
async def misbehaves_and_looks(name: str) -> Any:
    """A coroutine that has changed something of its own sees no other one's."""
    KINDS[name]()
    return inherited()


@task
def counts_queries() -> str:
    """How many of them Django has kept, its own three among them."""
    for _ in range(3):
        Job.objects.exists()
    return str(len(connection.queries))


@task
async def counts_its_queries() -> str:
    """The same, in the database thread of a coroutine."""
    counted: str = await sync_to_async(counts_queries.func)()
    return counted


@task
def asks_the_cache() -> str:
    """It answers with the identity of the cache's object, and writes to it."""
    cache.set("asked", "yes")
    assert cache.get("asked") == "yes"
    return str(id(caches["default"]))


@task
def naps() -> None:
    begin()
    time.sleep(60)


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
