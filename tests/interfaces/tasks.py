"""Tasks of third parties: made with Django's own decorator, and with the backport's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import django
import django_tasks

from django_bgtasks import task

if TYPE_CHECKING or django.VERSION >= (6, 0):
    from django.tasks import task as django_task
else:
    from django_tasks import task as django_task


@django_task
def by_django(a: int, b: int = 2) -> int:
    return a + b


@django_tasks.task
def by_the_backport(a: int, b: int = 2) -> int:
    return a + b


@django_task(queue_name="emails", priority=7, takes_context=True)
def by_django_with_options(context: Any) -> list[Any]:
    return [context.attempt, context.task_result.id]


@django_tasks.task(queue_name="emails", priority=7, takes_context=True)
def by_the_backport_with_options(context: Any) -> list[Any]:
    return [context.attempt, context.task_result.id]


@task
def by_bgtasks(a: int, b: int = 2) -> int:
    return a + b


@task
async def by_bgtasks_async(a: int, b: int = 2) -> int:
    return a + b


@task
def raises(message: str) -> None:
    raise ValueError(ValueError(message))


@task(dedup_key=lambda a: f"key of {a}")
def with_a_lambda(a: int) -> int:
    return a


@task(label=lambda order: order["name"])
def with_its_name(order: dict[str, str]) -> None:
    """Its label needs a part of its argument."""


@task(label="order {number}")
def with_its_order(number: int) -> None:
    """Its label names its argument."""


@task(dedup_key="debounced", on_duplicate="replace")
def debounced(a: int) -> int:
    return a
