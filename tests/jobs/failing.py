"""Tasks with on_failure. HEARD: what it was called with in this process."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

from django.db import connection

from django_bgtasks import GiveUp, JobCancelled, Retry, RetryLater, task
from tests.app.models import Note

from .carried import current_tenant, use_tenant

HEARD: list[Any] = []


def hear(context: Any, outcome: Any) -> None:
    """An on_failure."""
    kind = type(context.exception).__name__ if context.exception else outcome.failure.outcome
    HEARD.append((kind, context.job.state, outcome.failure.message, current_tenant()))


async def ahear(context: Any, outcome: Any) -> None:
    """An on_failure that is a coroutine function."""
    hear(context, outcome)


def raises(context: Any, outcome: Any) -> None:
    """An on_failure that fails in the database and by itself."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM nowhere")


def exits(context: Any, outcome: Any) -> None:
    """An on_failure that would end the process."""
    raise SystemExit(1)


async def is_cancelled(context: Any, outcome: Any) -> None:
    """An on_failure that waits for what was cancelled."""
    raise asyncio.CancelledError


def note(context: Any, outcome: Any) -> None:
    """An on_failure whose effect is seen from elsewhere."""
    Note.objects.create(text=f"{context.job.pk} {outcome.failure.outcome}")


def leaves_a_tenant(context: Any, outcome: Any) -> None:
    """An on_failure that leaves its tenant behind."""
    use_tenant("left behind").__enter__()


@task(on_failure=hear)
def fail(text: str = "no") -> None:
    raise ValueError(text)


@task(on_failure=f"{__name__}.hear", sensitive=["pin"])
def fail_by_path(pin: str) -> None:
    raise ValueError(f"wrong: {pin}")


@task(on_failure=ahear)
async def afail() -> None:
    raise ValueError("no")


@task(on_failure=hear, atomic=True)
def fail_atomically() -> None:
    raise ValueError("no")


@task(on_failure=hear, retry=Retry(max_attempts=2, delays=[0]))
def fail_twice() -> None:
    raise ValueError("no")


@task(on_failure=hear, retry=Retry(max_attempts=2, delays=[0]))
def give_up() -> None:
    raise GiveUp("for ever")


@task(on_failure=hear, takes_context=True)
def come_later(context: Any) -> None:
    raise RetryLater(60)


@task(on_failure=hear)
def succeed() -> None:
    """Nothing fails."""


@task(on_failure=hear)
def be_cancelled() -> None:
    raise JobCancelled("by itself")


@task(on_failure=hear)
def return_no_json() -> Any:
    return object()


@task(on_failure=raises)
def fail_and_raise() -> None:
    raise ValueError("no")


@task(on_failure=exits)
def fail_and_exit() -> None:
    raise ValueError("no")


@task(on_failure=is_cancelled)
def fail_and_be_cancelled() -> None:
    raise ValueError("no")


@task(on_failure=f"{__name__}.nowhere")
def fail_to_nowhere() -> None:
    raise ValueError("no")


@task(on_failure=leaves_a_tenant)
def fail_and_leave() -> None:
    raise ValueError("no")


@task(on_failure=note, on_crash="fail")
def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
