"""Tasks that run in the process that enqueues them."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from typing import Any

from django.db import connection, transaction
from django.utils import translation

from django_bgtasks import GiveUp, Retry, RetryLater, current_job, task
from django_bgtasks.sandbox.restore import CANCEL_SIGNAL
from tests.app.models import Note

SEEN: list[Any] = []


@task
def note(text: str) -> str:
    Note.objects.create(text=text)
    return text


@task(inline=True)
def always_inline(text: str) -> str:
    return text


@task
def looks_around() -> dict[str, Any]:
    """Where and in what it runs."""
    job = current_job()
    assert job is not None
    return {
        "thread": threading.current_thread().name,
        "in_transaction": connection.in_atomic_block,
        "language": translation.get_language(),
        "attempt": job.attempt,
        "notes": Note.objects.count(),
    }


@task
async def awaits(text: str) -> str:
    await asyncio.sleep(0)
    await Note.objects.acreate(text=text)
    await note.aenqueue(f"child of {text}")
    return text


@task(retry=Retry(max_attempts=3, delays=[0]), takes_context=True)
def works_the_third_time(context: Any) -> int:
    if context.attempt < 3:
        raise ValueError(f"attempt {context.attempt}")
    attempt: int = context.attempt
    return attempt


@task(retry=Retry(max_attempts=2, delays=[60]))
def fails_and_waits() -> None:
    raise LookupError("not there yet")


@task(takes_context=True)
def asks_for_later(context: Any, seconds: float) -> None:
    SEEN.append(context.attempt)
    if len(SEEN) < 2:
        raise RetryLater(seconds)


@task
def gives_up() -> None:
    raise GiveUp("never")


@task
def enqueues(depth: int) -> str:
    """A chain of jobs, each enqueued by the one before."""
    SEEN.append(depth)
    if depth:
        enqueues.enqueue(depth - 1)
    return f"{depth} more"


@task
def uses_its_child(number: int) -> int:
    child = doubles.enqueue(number)
    value: int = child.return_value
    return value + 1


@task
def changes_its_argument(argument: dict[str, list[int]]) -> dict[str, list[int]]:
    argument["list"].append(2)
    return argument


@task
def doubles(number: int) -> int:
    return 2 * number


@task(atomic=True)
def writes_and_enqueues(text: str) -> None:
    Note.objects.create(text=text)
    note.enqueue(f"after {text}")
    SEEN.append(Note.objects.filter(text=f"after {text}").exists())


@task(timeout=0.3)
def takes_too_long() -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        time.sleep(0.01)


@task(timeout=0.3)
async def awaits_too_long() -> None:
    await asyncio.sleep(20)


@task
def sleeps_within_its_own_time() -> None:
    with transaction.atomic():
        takes_too_long.enqueue()
    until = time.monotonic() + 20
    while time.monotonic() < until:
        time.sleep(0.01)


@task(timeout=60)
def takes_a_while() -> str:
    SEEN.append("begins")
    until = time.monotonic() + 0.6
    while time.monotonic() < until:
        time.sleep(0.01)
    return "done"


@task(timeout=0.2)
def has_less_time_than_its_child() -> None:
    with transaction.atomic():
        takes_a_while.using(inline=True).enqueue_many([(), ()])
    SEEN.append("goes on")


@task
def cancels_who_runs_it() -> str:
    signal.raise_signal(CANCEL_SIGNAL)
    return "goes on"


@task
def is_interrupted() -> None:
    raise KeyboardInterrupt


@task(on_crash="fail")
def is_interrupted_only_once() -> None:
    raise KeyboardInterrupt


@task
def runs_its_child_here(number: int) -> int:
    value: int = doubles.using(inline=True).enqueue(number).return_value
    return value + 1


@task(atomic=True)
def runs_its_child_after_its_commit(number: int) -> None:
    doubles.using(inline=True).enqueue(number)


@task
async def awaits_its_child_here(number: int) -> int:
    child = await doubles.using(inline=True).aenqueue(number)
    grandchild = await awaits_twice.using(inline=True).aenqueue(number)
    value: int = child.return_value + grandchild.return_value
    return value


@task
async def awaits_twice(number: int) -> int:
    await asyncio.sleep(0)
    return await asyncio.sleep(0, 2 * number)
