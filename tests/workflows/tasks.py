"""Tasks for workflows: what each was called with is in the rows of Note."""

from __future__ import annotations

from typing import Any

from django_bgtasks import Retry, task
from tests.app.models import Note


@task
def note(text: str) -> str:
    Note.objects.create(text=text)
    return text


@task
def double(number: int) -> int:
    return 2 * number


@task
def collect(*args: Any, **kwargs: Any) -> Any:
    """What it was called with, in a note and as its result."""
    value = list(args) or kwargs
    Note.objects.create(text=repr(value))
    return value


@task
def fail(text: str = "as asked") -> None:
    raise ValueError(text)


@task
def fail_until_mended(text: str) -> str:
    """Fails as long as there is no note that says that it is mended."""
    if not Note.objects.filter(text=f"mended {text}").exists():
        raise ValueError(text)
    return text


@task(retry=Retry(max_attempts=3, delays=[0]))
def fail_once(text: str) -> str:
    if not Note.objects.filter(text=text).exists():
        Note.objects.create(text=text)
        raise ValueError(text)
    return text


@task(takes_context=True)
def split(context: Any, count: int, name: str = "parts") -> Any:
    """Adds a part for each number to the group of this name."""
    added: int = context.batch[name].add(double.step(number) for number in range(count))
    return added


@task(takes_context=True)
def grow(context: Any, depth: int) -> int:
    """Adds one that adds one, and so on, to its own batch."""
    if depth:
        context.batch.add(grow.step(depth - 1))
    return depth


@task(takes_context=True)
def sum_results(context: Any) -> int:
    return int(sum(context.results()))
