"""How long maintenance waits for others' locks, and how long others wait for its own.

A host that stands still, or has lost its network, may leave a transaction behind in the database.
Whoever waits for a lock of it waits for as long as that host is silent: maintenance must not.
"""

from __future__ import annotations

from typing import Any

from django.db.backends.signals import connection_created

from .connection import WITHOUT_LOCK_RETRIES
from .lifecycle import ledger_database
from .pooler import is_pooled

# A task that has waited so long for a lock is left for its next turn.
LOCK_SECONDS = 2
# There all writers wait for one lock, each for its turn. A heartbeat must fail well before its
# worker counts as silent.
SQLITE_SECONDS = 3
# The database ends a transaction of maintenance that has been idle for so long.
IDLE_SECONDS = 10


def limit_waits() -> None:
    """From now on each new connection of this process to the ledger has both limits.

    SQLite has the first one only: nobody can end the transaction of another process.
    """
    connection_created.connect(_limit, dispatch_uid="django_bgtasks.lock_timeouts")


def _limit(connection: Any, **kwargs: Any) -> None:
    if connection.alias != ledger_database():
        return
    WITHOUT_LOCK_RETRIES.add(connection)
    with connection.cursor() as cursor:
        for statement in _statements(connection):
            cursor.execute(statement)


def _statements(connection: Any) -> list[str]:
    if connection.vendor == "postgresql":
        # Behind PgBouncer the session is others' too.
        if is_pooled(connection):
            return []
        idle = f"SET idle_in_transaction_session_timeout = '{IDLE_SECONDS}s'"
        return [f"SET lock_timeout = '{LOCK_SECONDS}s'", idle]
    if connection.vendor == "mysql":
        wait = [f"SET SESSION innodb_lock_wait_timeout = {LOCK_SECONDS}"]
        idle = f"SET SESSION idle_transaction_timeout = {IDLE_SECONDS}"
        return [*wait, idle] if connection.mysql_is_mariadb else wait
    if connection.vendor == "sqlite":
        seconds = connection.settings_dict["OPTIONS"].get("timeout", SQLITE_SECONDS)
        return [f"PRAGMA busy_timeout = {int(1000 * min(seconds, SQLITE_SECONDS))}"]
    return []
