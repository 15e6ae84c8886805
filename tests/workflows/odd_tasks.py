"""Tasks of workflows with everything that jobs can have besides."""

from __future__ import annotations

from datetime import date
from typing import Any

from django_bgtasks import Limit, Rate, Retry, current_job, task
from tests.app.models import Note

from .tasks import double


@task(limit=Limit("line"))
def one_at_once(number: int) -> int:
    return number


@task(limit=Limit("busy", when_busy="skip"))
def or_never(number: int) -> int:
    return number


@task(sequence="order")
def in_order(number: int) -> int:
    Note.objects.create(text=str(number))
    return number


@task(rate=Rate("calls", 1, per=60))
def rated(number: int) -> int:
    return number


@task(dedup_key="{number}")
def once_each(number: int) -> int:
    return number


@task(types="django")
def tomorrow(day: date) -> date:
    return date(day.year, day.month, day.day + 1)


@task(types="django")
def days(found: list[date]) -> dict[str, Any]:
    """Writes of which types its argument is made."""
    Note.objects.create(text=" ".join(type(one).__name__ for one in found))
    return {"last": found[-1]}


@task
async def adouble(number: int) -> int:
    return 2 * number


@task(takes_context=True)
async def asplit(context: Any, count: int) -> int:
    from asgiref.sync import sync_to_async

    steps = [double.step(number) for number in range(count)]
    await sync_to_async(lambda: context.batch["parts"].add(steps))()
    return count


@task(atomic=True)
def note_atomically(text: str) -> str:
    Note.objects.create(text=text)
    return text


@task(atomic=True, takes_context=True)
def split_and_fail(context: Any) -> None:
    """What an attempt has added goes with its transaction."""
    context.batch["parts"].add(double.step(1))
    raise ValueError("after the growth")


@task(atomic=True, takes_context=True)
def split_atomically(context: Any, count: int) -> int:
    context.batch["parts"].add(double.step(number) for number in range(count))
    return count


@task(takes_context=True, retry=Retry(max_attempts=2, delays=[0]))
def split_twice(context: Any) -> None:
    """Adds in each of its two attempts a step that has a dedup key."""
    context.batch.add(once_each.step(number) for number in range(3))
    if context.attempt == 1:
        raise ValueError("once more")


@task(takes_context=True)
def grow_groups(context: Any, depth: int) -> int:
    """Adds a group with one that adds a group, and so on, to its own batch."""
    from django_bgtasks import group

    if depth:
        context.batch.add(group(grow_groups.step(depth - 1), double.step(depth)))
    return depth


@task
def note_owner() -> int | None:
    context = current_job()
    return None if context is None else context.job.owner_id
