"""Small tasks to try promises on."""

from __future__ import annotations

import time
from typing import Any

from django_bgtasks import task

from .models import Note


@task
def add(a: int, b: int) -> int:
    return a + b


@task
def echo(*args: Any, **kwargs: Any) -> Any:
    """What it was called with, as it came out of the job's row."""
    return {"args": list(args), "kwargs": kwargs}


@task
def fail(message: str = "as asked") -> None:
    raise ValueError(message)


@task
def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@task
def write(text: str) -> int:
    """An effect in the database."""
    return Note.objects.create(text=text).pk


@task
def write_and_fail(text: str) -> None:
    Note.objects.create(text=text)
    raise ValueError(text)


@task(atomic=True)
def write_atomically(text: str) -> int:
    return Note.objects.create(text=text).pk


@task(atomic=True)
def write_atomically_and_fail(text: str) -> None:
    Note.objects.create(text=text)
    raise ValueError(text)


@task(takes_context=True)
def attempt_number(context: Any) -> int:
    attempt: int = context.attempt
    return attempt


@task(queue_name="emails")
def on_the_emails_queue() -> str:
    return "emails"
