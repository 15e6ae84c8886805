"""Before the first job process: can this worker work?

Asked in a process of its own, for the supervisor opens no connection.
"""

from __future__ import annotations

import logging
import os
import select
import sys
import time
from importlib import import_module
from pkgutil import iter_modules

from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connections
from django.db.migrations.loader import MigrationLoader

from ..core.messages import Reason
from ..jobs.carried import carried_of
from ..jobs.middleware import middleware_of
from ..ledger import pooler
from ..transport.connection import RedisError, connection, reason
from .config import WorkerConfig
from .heartbeat_file import TOUCH_EVERY, HeartbeatFile
from .processes import end_of, fork

logger = logging.getLogger("django_bgtasks.worker")
APP, RECORD = "django_bgtasks", "django_migrations"
NOT_MIGRATED, NO_DATABASE, MISCONFIGURED = 3, 4, 5
TRY_EVERY = 2.0


def check_database(config: WorkerConfig, heartbeat: HeartbeatFile | None = None) -> int:
    """Look at the database. Returns 0, or the exit code of what is in the way.

    A look that was killed, for lack of memory say, has not answered: it is taken again.
    heartbeat: touched while it looks; a worker that waits for its database is well.
    """
    while True:
        status = _look(config, heartbeat)
        if not os.WIFSIGNALED(status):
            return os.waitstatus_to_exitcode(status)
        logger.warning("The look at the database has ended (%s); looking again.", end_of(status))
        time.sleep(TRY_EVERY)


def _look(config: WorkerConfig, heartbeat: HeartbeatFile | None) -> int:
    """Look in a process of its own. Returns its wait status."""
    # It ends with the process, which alone has its other end.
    our_end, its_end = os.pipe()
    pid = fork(lambda: sys.exit(_check_database(config)))
    os.close(its_end)
    while heartbeat is not None and not select.select([our_end], [], [], TOUCH_EVERY)[0]:
        heartbeat.touch()
    os.close(our_end)
    return os.waitpid(pid, 0)[1]


def _check_database(config: WorkerConfig) -> int:
    try:
        middleware_of(config.backend)
        carried_of(config.backend)
    except ImproperlyConfigured as error:
        logger.error("%s", error)  # noqa: TRY400 - a traceback says nothing more
        return MISCONFIGURED
    while True:
        try:
            missing = unapplied(config.using)
            database = connections[config.using]
            if pooler.is_pooled(database) and not pooler.says_so(database):
                logger.warning(pooler.ADVICE, config.using, config.using)
            break
        except DatabaseError as error:
            logger.error("The database does not answer: %s", reason(error))  # noqa: TRY400
            if config.burst:
                return NO_DATABASE
            time.sleep(TRY_EVERY)
            connections[config.using].close()
    if missing:
        logger.error(
            "The tables of django_bgtasks are not up to date in the database %r (missing: %s). "
            "Run: python manage.py migrate",
            config.using,
            ", ".join(missing),
        )
        return NOT_MIGRATED
    return 0


def unapplied(using: str) -> list[str]:
    """The migrations of this app that the database lacks.

    Django's executor reads those of all apps, of which a large site has a thousand.
    """
    applied = _applied(using)
    # None: MIGRATION_MODULES says that this app has none.
    module, _ = MigrationLoader.migrations_module(APP)
    path = import_module(module).__path__ if module else ()
    names = [found.name for found in iter_modules(path) if found.name[0] not in "_~"]
    return [name for name in sorted(names) if name not in applied]


def _applied(using: str) -> set[str]:
    """As Django's recorder has it, without the model that it makes in each process."""
    database = connections[using]
    with database.cursor() as cursor:
        if RECORD not in database.introspection.table_names(cursor):
            return set()
        cursor.execute(f"SELECT name FROM {RECORD} WHERE app = %s", [APP])  # noqa: S608
        return {name for (name,) in cursor.fetchall()}


def redis_silence(backend: str) -> Reason | None:
    """Why Redis does not answer, in one line; None if it does."""
    try:
        connection(backend).ping()
    except RedisError as error:
        return reason(error)
    return None
