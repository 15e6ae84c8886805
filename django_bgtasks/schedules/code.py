"""What the code declares, `@task(schedule=…)`, and its rows: a worker writes them at its start."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.db import DatabaseError, InterfaceError

from ..core.aliases import aliases_of
from ..core.options import backend_of
from ..core.timing import Timing
from ..jobs.definition import schedule_name, timings_of
from ..jobs.discovery import try_to_discover
from ..jobs.task import SCHEDULED
from ..ledger import schedules
from ..models import Schedule
from ..models.schedule import ScheduleSource
from .call import row_of

logger = logging.getLogger("django_bgtasks")


@dataclass(frozen=True, slots=True)
class Declared:
    """One schedule of the code."""

    name: str
    task: Any
    timing: Timing

    def row(self) -> Schedule:
        """Its unsaved row."""
        return row_of(self.name, self.task, self.timing, source=ScheduleSource.CODE)


def declared(backend: str) -> dict[str, Declared]:
    """By their names, the schedules that the code of this process declares for a backend."""
    found = [
        Declared(schedule_name(path, timing), task, timing)
        for path, task in list(SCHEDULED.items())
        if task.backend == backend
        for timing in timings_of(task)
    ]
    return {one.name: one for one in found}


def declares(row: Schedule) -> bool:
    """Whether the code of this process declares this schedule."""
    backend = backend_of(row.backend) or row.backend
    found = declared(backend).get(row.name)
    if found is None and try_to_discover():
        # It may be declared in another module than that of its task.
        found = declared(backend).get(row.name)
    return found is not None and found.task.module_path == row.task


def write_declared(backend: str, using: str) -> int:
    """Write the rows of what the code declares; how many have changed.

    What a person has changed stays as it is. One that cannot be written is logged, and is in no
    other's way.
    """
    return sum(_try(partial(_write, one, using), one.name) for one in declared(backend).values())


def _write(one: Declared, using: str) -> bool:
    draft = one.row()
    for alias in aliases_of(one.task.module_path):
        # A task that was renamed keeps its schedule, and what a person has changed of it.
        schedules.rename_row(
            schedule_name(alias, one.timing), one.name, draft.task, draft.backend, using
        )
    row, is_changed = schedules.upsert(draft, using, _is_the_codes)
    if row.source != ScheduleSource.CODE:
        text = "The schedule %s of the code has the name of one that was made. Rename one of them."
        logger.error(text, one.name)
    return is_changed


def _is_the_codes(row: Schedule) -> bool:
    return row.source == ScheduleSource.CODE and not row.overridden


def _try(write: Callable[[], bool], name: str) -> bool:
    try:
        return write()
    except (DatabaseError, InterfaceError):
        raise
    except Exception:
        logger.exception("The schedule %s of the code cannot be written.", name)
        return False
