"""Whether a pooler, such as PgBouncer, stands between this process and PostgreSQL.

In its transaction mode the server's session is another one for each transaction: what is prepared
or set in one is missing in the next, and meets other clients there. So behind a pooler, whatever
its mode, nothing is.
"""

from __future__ import annotations

import logging
from typing import Any

logger = logging.getLogger("django_bgtasks")
# "prepared statement … does not exist", and "… already exists".
CODES = ("26000", "42P05")
ADVICE = (
    "A pooler, such as PgBouncer, stands before the database %r: statements are not prepared and "
    "no limits are set for its sessions. Set DATABASES[%r]['DISABLE_SERVER_SIDE_CURSORS'] to True, "
    "or the site's own queries with iterator() may fail there."
)
# What was found out, by the place of a database: a process asks once.
_found: dict[tuple[str, str, str], bool] = {}


def is_pooled(connection: Any) -> bool:
    """Whether the sessions of this connection may be shared: the settings say so, or it was seen.

    The first time it is asked, one statement on an open connection.
    """
    if says_so(connection):
        return True
    place = _place(connection)
    if place not in _found:
        _found[place] = _has_another_pid(connection)
    return _found[place]


def says_so(connection: Any) -> bool:
    """Whether the site's settings say that there is a pooler."""
    return bool(connection.settings_dict.get("DISABLE_SERVER_SIDE_CURSORS"))


def is_pooler_error(error: BaseException) -> bool:
    """Whether the server did not know, or knew already, what was prepared in this session."""
    return getattr(error.__cause__, "sqlstate", None) in CODES


def remember(connection: Any) -> None:
    """Remember that there is one after all, and say so."""
    # Noted first, or other threads that find out now would say it too.
    place = _place(connection)
    known, _found[place] = _found.get(place), True
    if not known:
        logger.warning(ADVICE, connection.alias, connection.alias)


def _has_another_pid(connection: Any) -> bool:
    """A pooler tells its clients, at the start, another process than the one that serves them."""
    if connection.vendor != "postgresql":
        return False
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        [pid] = cursor.fetchone()
    return bool(pid != connection.connection.info.backend_pid)


def _place(connection: Any) -> tuple[str, str, str]:
    settings = connection.settings_dict
    return connection.alias, str(settings.get("HOST", "")), str(settings.get("PORT", ""))
