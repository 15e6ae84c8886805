"""The schedules of beat: `CELERY_BEAT_SCHEDULE` and app.conf.beat_schedule become ours.

Each entry is a schedule of the code, by the name of the entry; every worker fires it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...core.errors import InvalidSchedule
from ...jobs.task import SCHEDULED, declare_queue
from .conf import CHANGED, configured
from .errors import SEE
from .mixed import celery_module, is_mixed, is_moved
from .registry import TASKS
from .schedules import beat_timing


def beat_entries() -> Mapping[str, Mapping[str, Any]]:
    """The entries by their names."""
    entries: Mapping[str, Mapping[str, Any]] = configured("beat_schedule") or {}
    if is_mixed():
        # Those of Celery's own app are there too.
        return {**celery_module().current_app.conf.beat_schedule, **entries}
    return entries


def declare_entries(task: Any) -> None:
    """Let the schedules be those of the code that name this task."""
    for name, entry in beat_entries().items():
        if entry.get("task") == task.name and is_moved(task.name):
            declare_entry(name, entry, task)


def declare_entry(name: str, entry: Mapping[str, Any], task: Any) -> None:
    """Let this entry be a schedule of the code. Raises InvalidSchedule for what has no equal."""
    from .sending import prepared

    unknown = sorted(set(entry) - {"task", "schedule", "args", "kwargs", "options", "relative"})
    if unknown:
        raise InvalidSchedule(f"The entry {name!r} of beat has no {', '.join(unknown)}. {SEE}")
    options = dict(entry.get("options") or {})
    if options.get("countdown") or options.get("eta"):
        raise InvalidSchedule(f"The entry {name!r}: a schedule says itself when it runs. {SEE}")
    background, kwargs = prepared(task, entry.get("kwargs") or {}, options)
    policies = {"args": tuple(entry.get("args") or ()), "kwargs": kwargs, "overlap": "allow"}
    timing = beat_timing(entry["schedule"], **policies)
    declare_queue(background.backend, background.queue_name)
    SCHEDULED[name] = replace(background, schedule=timing)


def _redeclare(setting: str) -> None:
    if setting == "beat_schedule":
        for task in list(TASKS.values()):
            if task.is_complete:
                declare_entries(task)


CHANGED.append(_redeclare)
