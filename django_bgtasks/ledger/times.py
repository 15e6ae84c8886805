"""The database's clock as our columns have it, in UTC, and what is counted with it.

Every time that decides something comes from here, or is the NOW of the hot statements: the
database's own idea of "now" is in the zone of the session.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db import connections
from django.db.models import FloatField, Func, IntegerField, Value, functions

from ..core.clock import EPOCH
from ..models.fields import UTCDateTimeField

# What is further away than this, in seconds, is written as so far: no column holds a later time.
LATEST, EARLIEST = 7000 * 365 * 86400.0, -1000 * 365 * 86400.0
# Microseconds since 1970 by each database's clock, in UTC, whatever the zone of the session is.
MICROSECONDS = {
    "postgresql": "(EXTRACT(EPOCH FROM STATEMENT_TIMESTAMP()) * 1000000)::bigint",
    "sqlite": "CAST((JULIANDAY('NOW') - 2440587.5) * 86400000 + 0.5 AS INTEGER) * 1000",
    "mysql": "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))",
}


class Now(functions.Now):
    """The time at which the statement began, by the database's clock."""

    output_field = UTCDateTimeField()

    def as_mysql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """CURRENT_TIMESTAMP is in the zone of the session."""
        return self.as_sql(compiler, connection, template="UTC_TIMESTAMP(6)", **context)


class After(Func):
    """Now() plus so many seconds: not days, for one may have 23 hours in the session's zone."""

    output_field = UTCDateTimeField()
    template = "(STATEMENT_TIMESTAMP() + %(expressions)s * INTERVAL '1 second')"

    def __init__(self, seconds: float) -> None:
        self.seconds = max(EARLIEST, min(LATEST, seconds))
        super().__init__(Value(self.seconds, FloatField()))

    def since(self, moment: datetime) -> datetime:
        """What it comes to if the database's clock shows this time."""
        return moment + timedelta(seconds=self.seconds)

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """Its times are texts, and so is what is added."""
        moment = "'%%%%Y-%%%%m-%%%%d %%%%H:%%%%M:%%%%f', 'NOW'"
        template = f"STRFTIME({moment}, %(expressions)s || ' seconds')"
        return self.as_sql(compiler, connection, template=template, **context)

    def as_mysql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        template = "(UTC_TIMESTAMP(6) + INTERVAL %(expressions)s SECOND)"
        return self.as_sql(compiler, connection, template=template, **context)


def after(delay: timedelta) -> After:
    """The database's clock plus a timedelta, as an expression."""
    return After(delay.total_seconds())


def database_now(using: str) -> datetime:
    """What the database's clock shows, aware and in UTC."""
    connection = connections[using]
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {MICROSECONDS[connection.vendor]}")
        [micros] = cursor.fetchone()
    return EPOCH + timedelta(microseconds=int(micros))


class MinuteOf(Func):
    """The whole minutes from 1970 to a time, in UTC."""

    output_field = IntegerField()
    template = "FLOOR(EXTRACT(EPOCH FROM %(expressions)s) / 60)::int"

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        template = "(CAST(STRFTIME('%%%%s', %(expressions)s) AS INTEGER) / 60)"
        return self.as_sql(compiler, connection, template=template, **context)

    def as_mysql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """UNIX_TIMESTAMP() would take the time for one of the session's zone."""
        template = "TIMESTAMPDIFF(MINUTE, '1970-01-01', %(expressions)s)"
        return self.as_sql(compiler, connection, template=template, **context)


class SecondsBetween(Func):
    """The seconds from one time to another; NULL if one of them is.

    It is NULL on SQLite, too, in the last millisecond of the year 9999.
    """

    output_field = FloatField()
    template = "EXTRACT(EPOCH FROM (%(expressions)s))::float8"
    arg_joiner = " - "

    def __init__(self, start: Any, end: Any) -> None:
        super().__init__(end, start)

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """The difference of two numbers of days."""
        end, start = (compiler.compile(source) for source in self.source_expressions)
        statement = f"((JULIANDAY({end[0]}) - JULIANDAY({start[0]})) * 86400.0)"
        return statement, (*end[1], *start[1])

    def as_mysql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        end, start = (compiler.compile(source) for source in self.source_expressions)
        return f"(TIMESTAMPDIFF(MICROSECOND, {start[0]}, {end[0]}) / 1e6)", (*start[1], *end[1])
