"""Which database holds the ledger, and the id that all its names in Redis carry, so that other
ledgers may be there too.

The database holds it, so a database of its own has an id of its own. One that was copied, with its
rows, is met at another place than before, and gets a new id there. A new id does no harm at any
time: what waits is sent again under the new name.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any
from uuid import UUID

from django.db import ProgrammingError, connections, transaction
from django.db.models.signals import post_migrate

from ..core import clock
from ..models import Ledger
from .connection import retried
from .times import Now

logger = logging.getLogger("django_bgtasks")
# A process that doubts the id asks the database again, not more often than this. Seconds: a few
# statements, and only while Redis has heard of no workers.
DOUBT_EVERY = 2.0
# So many places are remembered: a cluster may show another of its servers each time.
PLACES = 50
known_ids: dict[str, tuple[UUID, float]] = {}


def ledger_id(using: str) -> UUID:
    """The id of the ledger in this database, which a process reads once. Raises DatabaseError."""
    found = known_ids.get(using)
    return look(using) if found is None else found[0]


def look(using: str) -> UUID:
    """Read the id, and look where the database is: a copy gets a new id, and a log line."""
    row = identity_of(using)
    place = _place(using)
    if place and place not in row.origins:
        row = rename(row, f"The database {using!r} was copied or moved", using, place)
    return _know(row, using)


def reread(using: str) -> UUID:
    """Read the id again, for somebody else may have changed it: one statement after the first."""
    return _know(identity_of(using), using) if using in known_ids else look(using)


@retried
def rename(row: Ledger, why: str, using: str, place: str = "") -> Ledger:
    """Give the ledger a new id, if nobody else has done so since `row` was read."""
    new = clock.new_id()
    origins = [*row.origins, *([place] if place else [])][-PLACES:]
    same = Ledger.objects.using(using).filter(pk=row.pk, uuid=row.uuid)
    if same.update(uuid=new, copied_from=row.uuid, named_at=Now(), origins=origins):
        text = "%s: in Redis its ledger is no longer %s, from now on it is %s."
        logger.warning(text, why, short(row.uuid), short(new))
    return identity_of(using)


def database_name(using: str) -> str:
    """The name of the ledger's database in the settings, for people."""
    return Path(str(connections[using].settings_dict.get("NAME") or "")).name


def short(ledger: UUID) -> str:
    """How the names in Redis begin: the end of the id, which is random."""
    return ledger.hex[-8:]


def doubt(using: str) -> None:
    """Redis has not heard of workers under this id: it may have changed since it was read."""
    found = known_ids.get(using)
    if found is not None and clock.monotonic() - found[1] >= DOUBT_EVERY:
        known_ids.pop(using, None)


def forget(**kwargs: Any) -> None:
    """Ask again at the next occasion. The tables may have been emptied."""
    known_ids.clear()


def _know(row: Ledger, using: str) -> UUID:
    # What is read within a transaction, as a test's, may not be there after it.
    if not connections[using].in_atomic_block:
        known_ids[using] = row.uuid, clock.monotonic()
    return row.uuid


@retried
def identity_of(using: str) -> Ledger:
    """The row of the ledger, as it is now; it is made when it is asked for first."""
    rows = Ledger.objects.using(using)
    found = rows.first()
    if found is not None:
        return found
    ledger = Ledger(uuid=clock.new_id(), named_at=Now(), origins=[_place(using)])
    # Others may do the same now, and one of them is the first.
    rows.bulk_create([ledger], ignore_conflicts=True)
    return rows.first() or ledger


def _place(using: str) -> str:
    """The server and schema, or the file, that holds the ledger now; empty if nobody can tell.

    It stays when a standby takes over, and when the settings name the same server otherwise.
    """
    connection = connections[using]
    where = {"postgresql": _in_postgres, "mysql": _in_mysql, "sqlite": _in_sqlite}
    return where[connection.vendor](connection) if connection.vendor in where else ""


def _in_postgres(connection: Any) -> str:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT oid FROM pg_database WHERE datname = current_database()), "
            "to_regclass(%s)::oid",
            [Ledger._meta.db_table],
        )
        database, table = cursor.fetchone()
    try:
        with transaction.atomic(connection.alias), connection.cursor() as cursor:
            cursor.execute("SELECT system_identifier FROM pg_control_system()")
            [server] = cursor.fetchone()
    except ProgrammingError:
        # This role may not ask.
        server = ""
    return f"postgresql:{server}:{database}:{table}"


def _in_mysql(connection: Any) -> str:
    variables = ("server_uid", "server_uuid", "hostname", "port")
    with connection.cursor() as cursor:
        cursor.execute(f"SHOW VARIABLES WHERE Variable_name IN {variables}")
        found = dict(cursor.fetchall())
        # The nodes of a Galera cluster are one place.
        cursor.execute("SHOW STATUS LIKE 'wsrep_cluster_state_uuid'")
        cluster = "".join(value for _, value in cursor.fetchall())
        cursor.execute("SELECT DATABASE()")
        [schema] = cursor.fetchone()
    server = cluster or found.get("server_uid") or found.get("server_uuid")
    return f"mysql:{server or (found.get('hostname'), found.get('port'))}:{schema}"


def _in_sqlite(connection: Any) -> str:
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA database_list")
        path = next((path for _, name, path in cursor.fetchall() if name == "main"), "")
    return f"sqlite:{Path(path).stat().st_ino}" if path else ""


# A flush of the tables ends with this signal, as a migration does.
post_migrate.connect(forget, dispatch_uid="django_bgtasks.identity")
