"""System checks of moved tasks: what works, and not quite as it did."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core.checks import CheckMessage, register
from django.core.checks import Error as CheckError
from django.core.checks import Warning as CheckWarning
from django.core.exceptions import ImproperlyConfigured

from ...core.errors import InvalidSchedule
from .beat import beat_entries, scheduled_task
from .mixed import is_moved
from .registry import TASKS


@register("bgtasks")
def check_moved_tasks(**kwargs: Any) -> list[CheckMessage]:
    """The tasks and schedules that are written as Celery's."""
    try:
        return [*_rate_limits(), *_wrong_entries()]
    except ImproperlyConfigured:
        # The check of the settings says what is wrong.
        return []


def _rate_limits() -> Iterator[CheckMessage]:
    for task in list(TASKS.values()):
        if task.rate_limit and task.own_rate is None:
            yield CheckWarning(
                f"{task.name}: rate_limit={task.rate_limit!r} counted for each worker of Celery. "
                f"Here it counts across all workers.",
                hint=f"Say that it is meant so: write rate=Rate({task.name!r}, …) in the place of "
                f"rate_limit, with Rate from django_bgtasks. See docs/moving.md.",
                id="bgtasks.W007",
            )


def _wrong_entries() -> Iterator[CheckMessage]:
    for name, entry in beat_entries().items():
        task = str(entry.get("task"))
        if not is_moved(task):
            continue
        if TASKS.has(task):
            try:
                scheduled_task(name, entry, TASKS[task])
            except InvalidSchedule as error:
                hint = "Correct it: until then nobody fires it."
                yield CheckError(str(error), hint=hint, id="bgtasks.E016")
        else:
            yield CheckWarning(
                f"The entry {name!r} of CELERY_BEAT_SCHEDULE names {task!r}, and no task has that "
                f"name here: nobody fires it.",
                hint="Correct the name, or import shared_task from django_bgtasks.contrib.celery "
                "in the module of the task.",
                id="bgtasks.W008",
            )
