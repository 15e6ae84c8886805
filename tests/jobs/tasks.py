"""Tasks with which the straight line is tried."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from datetime import UTC, datetime, timedelta
from typing import Any
from weakref import WeakSet

from django.db import OperationalError, connection, transaction

from django_bgtasks import GiveUp, Retry, RetryLater, current_job, task
from django_bgtasks.core import clock
from django_bgtasks.models import Job
from tests.app.models import Note


class Unprintable(Exception):
    """Neither str() nor pickle can do anything with it."""

    def __init__(self) -> None:
        super().__init__(threading.Lock())

    def __str__(self) -> str:
        raise ValueError("not this one")


class Large:
    """What a task may have in hand."""


IN_HAND: WeakSet[Large] = WeakSet()


@task
def fails_with_much_in_hand() -> None:
    large = Large()
    IN_HAND.add(large)
    raise ValueError("no more room")


@task
def sets_its_session(to: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET statement_timeout = '{to}'")


@task
def setting_of_its_session() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        return str(cursor.fetchone()[0])


@task
def note(text: str) -> None:
    Note.objects.create(text=text)


@task(dedup_key="{user_id}")
def welcome(user_id: int, greeting: str = "hello") -> str:
    return f"{greeting} {user_id}"


@task(dedup_key="{user_id}", dedup_scope="queued")
def until_started(user_id: int) -> None:
    """Holds its key while it waits."""


@task(dedup_key="{user_id}", dedup_scope=timedelta(hours=1))
def once_an_hour(user_id: int) -> None:
    """Holds its key for an hour."""


@task(retry=Retry(max_attempts=3, delays=[0, 300], jitter=0), takes_context=True)
def third_time_lucky(context: Any) -> int:
    attempt: int = context.attempt
    if attempt < 3:
        raise ConnectionError(f"attempt {attempt}")
    return attempt


@task(retry=Retry(max_attempts=3, delays=[0], on=OSError, not_on=FileNotFoundError))
def picky(error: str) -> None:
    raise {"wanted": ConnectionError, "unwanted": FileNotFoundError, "other": KeyError}[error]("no")


@task(retry=Retry(max_attempts=2, delays=[0]))
def again_later(seconds: float) -> None:
    raise RetryLater(seconds)


@task(retry=Retry(max_attempts=5))
def hopeless() -> None:
    raise GiveUp("there is no such user")


@task(timeout=0.05)
def hang() -> None:
    threading.Event().wait(30)


@task(on_crash="fail")
def dies() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@task(timeout=0.05, retry=Retry(max_attempts=2, delays=[0]))
def hang_twice() -> None:
    threading.Event().wait(30)


@task
async def aadd(a: int, b: int) -> int:
    await asyncio.sleep(0)
    return a + b


@task
async def anote(text: str) -> int:
    return (await Note.objects.acreate(text=text)).pk


@task(takes_context=True)
async def acontext(context: Any) -> list[Any]:
    job = current_job()
    return [context.attempt, str(context.job_id), job is context]


@task(timeout=0.05)
async def ahang() -> None:
    await asyncio.sleep(30)


@task
async def atimeout_of_its_own() -> None:
    raise TimeoutError("the provider did not answer")


@task(atomic=True, retry=Retry(max_attempts=2, delays=[0]))
def atomically(text: str, fail: bool = False) -> str:
    Note.objects.create(text=text)
    if fail:
        raise ValueError(text)
    return text


@task(atomic=True)
def atomically_not_json(text: str) -> object:
    Note.objects.create(text=text)
    return object()


@task(atomic=True)
def atomically_breaks_the_transaction(text: str) -> None:
    Note.objects.create(text=text)
    transaction.set_rollback(True)


@task(takes_context=True, atomic=True)
def progressing_atomically(context: Any) -> None:
    for step in (1, 2, 3):
        context.progress(step, 3, f"row {step}")


@task(takes_context=True)
def progressing(context: Any, steps: int) -> None:
    for step in range(1, steps + 1):
        context.progress(step, steps, f"row {step}")


@task(takes_context=True)
def asks_all(context: Any) -> bool:
    for _ in range(3):
        context.progress(1, 1)
        context.heartbeat()
    return bool(context.cancelled)


@task(takes_context=True)
async def asks_all_async(context: Any) -> bool:
    for _ in range(3):
        await context.aprogress(1, 1)
        await context.aheartbeat()
    return bool(await context.acancelled())


@task(takes_context=True)
def in_steps(context: Any, fail: bool) -> Any:
    pk = context.once("write", lambda: Note.objects.create(text="step").pk)
    if fail and context.attempt == 1:
        raise ValueError("after the step")
    return [pk, context.idempotency_key, context.step_key("write")]


@task(takes_context=True)
def watchful(context: Any) -> list[bool]:
    before = context.cancelled
    context.job.__class__.objects.filter(pk=context.job_id).update(cancel_requested_at=clock.now())
    return [before, type(context)(context.job, context.task, context.using).cancelled]


@task(takes_context=True)
def stops_when_asked(context: Any) -> None:
    context.job.__class__.objects.filter(pk=context.job_id).update(cancel_requested_at=clock.now())
    context.heartbeat()
    raise AssertionError("it went on")


@task(takes_context=True)
def loses_its_claim(context: Any) -> None:
    context.job.__class__.objects.filter(pk=context.job_id).update(claims=7)
    context.heartbeat()
    raise AssertionError("it went on")


@task
def raises(kind: str) -> None:
    error: BaseException = {
        "unprintable": Unprintable,
        "system exit": SystemExit,
        "keyboard interrupt": KeyboardInterrupt,
        "generator exit": GeneratorExit,
        "cancelled": asyncio.CancelledError,
        "recursion": RecursionError,
    }[kind]()
    raise error


@task
def raises_in_circles() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    raise first


@task
def raises_a_library() -> None:
    raise ValueError("x" * 10**6)


@task
def recurses(depth: int = 0) -> None:
    recurses.func(depth + 1)


@task
def gives(what: str) -> Any:
    return _given(what)


@task(atomic=True)
def gives_in_its_transaction(what: str) -> Any:
    return _given(what)


@task
async def gives_later(what: str) -> Any:
    return _given(what)


def _given(what: str) -> Any:
    return {
        "function": lambda: 1,
        "nan": float("nan"),
        "key": {1: "one"},
        "row": Job(),
        "within": [{"when": datetime.now(UTC)}],
        "bytes": b"\xff",
        "large": "x" * 300_000,
        "tuple": (1, (2,)),
    }[what]


@task
def leaves_autocommit_off(text: str) -> None:
    transaction.set_autocommit(False)
    Note.objects.create(text=text)


@task
def leaves_a_transaction_open(text: str, error: str) -> None:
    transaction.atomic().__enter__()
    Note.objects.create(text=text)
    if error:
        raise ValueError(error)


@task(atomic=True)
def leaves_a_transaction_open_atomically(text: str, error: str) -> None:
    leaves_a_transaction_open.func(text, error)


@task
def loses_its_connection() -> None:
    """The server ends it, as in a failover."""
    with contextlib.suppress(OperationalError), connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")


@task
def enqueues_another(text: str) -> None:
    note.enqueue(text)
