"""The schedules of beat: `CELERY_BEAT_SCHEDULE` and app.conf.beat_schedule become ours.

Each entry is a schedule of the code, by the name of the entry; every worker fires it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from django.apps import apps

from ...core.errors import InvalidSchedule
from ...jobs.discovery import AFTER_DISCOVERY
from ...jobs.task import SCHEDULED, declare_queue
from .conf import CHANGED, configured
from .errors import SEE
from .mixed import celery_module, is_mixed, is_moved
from .registry import TASKS
from .schedules import beat_timing

logger = logging.getLogger("celery.beat")


def beat_entries() -> Mapping[str, Mapping[str, Any]]:
    """The entries by their names."""
    entries: Mapping[str, Mapping[str, Any]] = configured("beat_schedule") or {}
    if is_mixed():
        # Those of Celery's own app are there too.
        return {**celery_module().current_app.conf.beat_schedule, **entries}
    return entries


def declare_entries(task: Any) -> None:
    """Let the schedules be those of the code that name this task."""
    if not apps.ready:
        # The models are not there yet: declare_all() follows.
        return
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


def keep_from_celery(sender: Any, **kwargs: Any) -> None:
    """Take what is ours away from a beat of Celery that starts: each tick is to have one job."""
    entries = sender.scheduler.schedule
    names = [
        name for name, entry in entries.items() if entry.task in TASKS and is_moved(entry.task)
    ]
    for name in names:
        del entries[name]
    if names:
        logger.info("Left to the workers of django_bgtasks: %s.", ", ".join(sorted(names)))


def watch_beat() -> None:
    """Let keep_from_celery() be called where a beat of Celery starts in this process."""
    celery_module("celery.signals").beat_init.connect(
        keep_from_celery, dispatch_uid="django_bgtasks.beat"
    )


def declare_all(setting: str = "beat_schedule") -> None:
    """Declare the entries of all tasks that are there, after this setting has changed."""
    if setting == "beat_schedule":
        for task in list(TASKS.values()):
            if task.is_complete:
                declare_entries(task)


AFTER_DISCOVERY.append(declare_all)
CHANGED.append(declare_all)
