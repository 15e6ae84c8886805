"""Tasks that are plain ones of the tasks API: decorated while another backend is the default.

`test_plain_tasks` imports it under the API's dummy backend; a worker that imports it has ours.
"""

from __future__ import annotations

from typing import Any

import django_tasks
from django_tasks.base import Task as BackportTask

from django_bgtasks.core.compat import Task, api


@api.task
def add(a: int, b: int = 2) -> int:
    return a + b


@api.task
async def add_later(a: int, b: int = 2) -> int:
    return a + b


@api.task(takes_context=True)
def who(context: Any) -> list[Any]:
    return [context.attempt, context.task_result.id]


def _by_the_backport(a: int, b: int = 2) -> int:
    return a + b


def _asks_the_backport(context: Any) -> bool:
    is_one = isinstance(context, django_tasks.TaskContext)
    return is_one and isinstance(context.task_result, django_tasks.TaskResult)


def _double(a: int) -> int:
    return 2 * a


def _triple(a: int) -> int:
    return 3 * a


def no_task(a: int) -> int:
    return a


OPTIONS: Any = {"priority": 0, "backend": "default", "queue_name": "default", "run_after": None}
double: Any = Task(func=_double, **OPTIONS)
triple: Any = BackportTask(func=_triple, **OPTIONS)
by_the_backport: Any = BackportTask(func=_by_the_backport, **OPTIONS)
asks_the_backport: Any = BackportTask(func=_asks_the_backport, takes_context=True, **OPTIONS)


class Holder:
    """A function of a class has no path from which a worker could import it."""

    @staticmethod
    def method() -> None:
        pass
