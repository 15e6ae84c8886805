"""What a worker says at its start, and where the lines of its log go."""

from __future__ import annotations

import logging
import re
import sys

from django.conf import settings
from django.db import connections
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ..core.messages import WITHOUT_REDIS_PAGE, message
from ..core.outcomes import failure_of
from ..jobs.task import known_task
from ..transport.connection import describe, uses_redis
from .config import WorkerConfig

LEVELS = {0: logging.WARNING, 1: logging.INFO, 2: logging.DEBUG, 3: logging.DEBUG}


def banner(config: WorkerConfig, queues: tuple[str, ...]) -> str:
    """What this worker listens to, with which Redis and which database."""
    text = ngettext(
        "bgworker %(worker)s on %(host)s: %(count)d process",
        "bgworker %(worker)s on %(host)s: %(count)d processes",
        config.processes,
    )
    start = {"worker": config.worker, "host": config.hostname, "count": config.processes}
    facts = {
        _("queues"): ", ".join(queues),
        _("redis"): _redis(config.backend),
        _("database"): _database(config.using),
    }
    wide = max(map(len, facts))
    return "\n".join([text % start, *(f"  {name:{wide}}  {fact}" for name, fact in facts.items())])


def set_up_logging(verbosity: int) -> None:
    """Write the worker's lines to standard error, where the site's LOGGING does not take them."""
    logger = logging.getLogger("django_bgtasks")
    logger.setLevel(LEVELS[verbosity])
    # Ours is one line a job; Django's own would be two more.
    for name in ("django.tasks", "django_tasks"):
        logging.getLogger(name).setLevel(logging.ERROR if verbosity < 2 else logging.DEBUG)
        logging.getLogger(name).addFilter(_without_secrets)
        logging.getLogger(name).addFilter(_with_clipped_traceback)
    # One job process says once that Redis is away; a retry that cannot be pushed need not.
    dispatch = logging.ERROR if verbosity < 2 else logging.DEBUG
    logging.getLogger("django_bgtasks.dispatch").setLevel(dispatch)
    if _handled_by_site(settings.LOGGING):
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s [%(process)d] %(message)s"))
    logger.addHandler(handler)
    logger.propagate = False
    # The backport's has no handler: Python would print a failure's traceback as it comes.
    logging.getLogger("django_tasks").addHandler(logging.NullHandler())


def _without_secrets(record: logging.LogRecord) -> bool:
    """Take the traceback from Django's own line about a task with sensitive arguments.

    It may quote them. With the mask in their place it is in the job's row.
    """
    found = re.search(r"\bpath=(\S+)", record.getMessage()) if record.exc_info else None
    task = known_task(found[1]) if found else None
    # Nobody knows of one that is not on this host.
    if found and (task is None or bool(getattr(task, "sensitive", False))):
        record.exc_info = record.exc_text = None
    return True


def _with_clipped_traceback(record: logging.LogRecord) -> bool:
    """A task may raise megabytes: the log gets what the job's row gets."""
    if record.exc_info and record.exc_info[1] is not None:
        record.exc_text = failure_of(record.exc_info[1]).traceback.rstrip()
    return True


def _handled_by_site(config: dict[str, object]) -> bool:
    loggers = config.get("loggers")
    has_logger = isinstance(loggers, dict) and any(
        name == "" or name.split(".")[0] == "django_bgtasks" for name in loggers
    )
    return has_logger or "root" in config


def _redis(backend: str) -> str:
    if uses_redis(backend):
        return describe(backend)
    return f"{message('without_redis', None)} ({WITHOUT_REDIS_PAGE})"


def _database(using: str) -> str:
    values = connections[using].settings_dict
    name = f"{connections[using].vendor} {values['NAME']}"
    if not values["HOST"]:
        return name
    return _("%(database)s at %(host)s") % {"database": name, "host": values["HOST"]}
