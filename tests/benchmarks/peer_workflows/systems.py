"""The systems by their names on the command line."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any, NamedTuple

# The system's name, for its own processes.
VARIABLE = "BGTASKS_PEER"


class System(NamedTuple):
    """One system with one set of options. times: whether it is part of the times, too."""

    title: str
    module: str
    packages: tuple[str, ...]
    times: bool = True


CELERY = ("celery", "kombu")
SYSTEMS = {
    "bgtasks": System("**django_bgtasks**", "on_bgtasks", ("django-bgtasks",)),
    "celery": System("Celery", "on_celery", CELERY),
    "celery_late": System(
        "Celery, `acks_late`, `reject_on_worker_lost`, `visibility_timeout` of an hour",
        "on_celery",
        CELERY,
    ),
    "celery_short": System(
        "Celery, and `visibility_timeout` of 15 s", "on_celery", CELERY, times=False
    ),
    "huey": System("Huey, process workers", "on_huey", ("huey",)),
    "dramatiq": System("Dramatiq, a thread in each process", "on_dramatiq", ("dramatiq",)),
}


def current() -> Any:
    """The module of this process's system."""
    return import_module(f"{__package__}.{SYSTEMS[os.environ[VARIABLE]].module}")
