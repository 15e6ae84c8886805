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
from ...jobs.task import SCHEDULED, BackgroundTask, declare_queue
from .conf import CHANGED, configured
from .errors import SEE
from .mixed import celery_module, is_mixed, is_moved
from .registry import TASKS
from .schedules import beat_timing

logger = logging.getLogger("celery.beat")
# What an entry may have.
KEYS = {"task", "schedule", "args", "kwargs", "options", "relative", "enabled"}


def beat_entries() -> Mapping[str, Mapping[str, Any]]:
    """The entries by their names, without those that are switched off."""
    entries = configured("beat_schedule") or {}
    if is_mixed():
        # Those of Celery's own app are there too.
        entries = {**celery_module().current_app.conf.beat_schedule, **entries}
    # What is no dict names no task: the checks say so.
    named = {name: entry if isinstance(entry, Mapping) else {} for name, entry in entries.items()}
    return {name: entry for name, entry in named.items() if entry.get("enabled", True)}


def declare_entries(task: Any) -> None:
    """Let the schedules be those of the code that name this task.

    One that cannot be fired is left out and logged, and the system checks report it: where a wrong
    entry is in the settings, the module of its task can be imported all the same.
    """
    if not apps.ready:
        # The models are not there yet: declare_all() follows.
        return
    for name, entry in beat_entries().items():
        if entry.get("task") == task.name and is_moved(task.name):
            try:
                scheduled = scheduled_task(name, entry, task)
            except InvalidSchedule as error:
                SCHEDULED.pop(name, None)
                logger.warning("%s It is left out.", error)
            else:
                declare_queue(scheduled.backend, scheduled.queue_name)
                SCHEDULED[name] = scheduled


def scheduled_task(name: str, entry: Mapping[str, Any], task: Any) -> BackgroundTask[Any, Any]:
    """The task of an entry with its schedule. Raises InvalidSchedule, which names the entry."""
    try:
        return _scheduled_task(entry, task)
    except Exception as error:
        raise InvalidSchedule(f"The entry {name!r} of the beat schedule: {error}") from error


def _scheduled_task(entry: Mapping[str, Any], task: Any) -> BackgroundTask[Any, Any]:
    from .sending import prepared

    if unknown := sorted(set(entry) - KEYS):
        raise InvalidSchedule(f"there is no {', '.join(unknown)} in an entry. {SEE}")
    if "schedule" not in entry:
        raise InvalidSchedule(f"it has no schedule. {SEE}")
    options = dict(entry.get("options") or {})
    if options.get("countdown") or options.get("eta"):
        raise InvalidSchedule(f"a schedule says itself when it runs. {SEE}")
    if named := sorted(set(options) & {"link", "link_error", "task_id"}):
        text = f"a schedule has no {', '.join(named)}: let a task enqueue what belongs together."
        raise InvalidSchedule(f"{text} {SEE}")
    background, kwargs = prepared(task, entry.get("kwargs") or {}, options)
    policies = {"args": tuple(entry.get("args") or ()), "kwargs": kwargs, "overlap": "allow"}
    return replace(background, schedule=beat_timing(entry["schedule"], **policies))


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
