"""Import the modules of the apps in which tasks are: `tasks`, and those that OPTIONS names."""

from __future__ import annotations

import logging
from collections.abc import Callable

from django.apps import apps
from django.utils.module_loading import autodiscover_modules

from ..core.options import backend_settings, entries

logger = logging.getLogger("django_bgtasks")
TASKS = "tasks"
# The names of which this process has imported the modules.
_imported: set[str] = set()
# Called when the modules have been imported, for what needs all tasks.
AFTER_DISCOVERY: list[Callable[[], object]] = []


def discover_tasks(*backends: str) -> None:
    """Import them for these backends, for all of ours if none is named; raises what they raise."""
    for name in _names(backends):
        autodiscover_modules(name)
        _imported.add(name)
    for act in AFTER_DISCOVERY:
        act()


def try_to_discover() -> bool:
    """Import them once, for who looks for a task in a process that may not have imported it.

    False if there was nothing to import any more. What a module raises is logged.
    """
    missing = [name for name in _names() if name not in _imported] if apps.ready else []
    _imported.update(missing)
    for name in missing:
        try:
            autodiscover_modules(name)
        except (Exception, SystemExit):
            logger.warning("Not all modules named %r can be imported.", name, exc_info=True)
    for act in AFTER_DISCOVERY if missing else ():
        act()
    return bool(missing)


def _names(backends: tuple[str, ...] = ()) -> list[str]:
    of_settings = (backend_settings(each).options.modules for each in backends or entries())
    return list(dict.fromkeys([TASKS, *(name for names in of_settings for name in names)]))
