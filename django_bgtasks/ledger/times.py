"""Minutes and seconds as the database counts them, the same number on each kind of database."""

from __future__ import annotations

from typing import Any

from django.db.models import FloatField, Func, IntegerField


class MinuteOf(Func):
    """The whole minutes from 1970 to a time, in UTC."""

    output_field = IntegerField()
    template = "FLOOR(EXTRACT(EPOCH FROM %(expressions)s) / 60)::int"

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """Its times are texts."""
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
        """To the microsecond."""
        end, start = (compiler.compile(source) for source in self.source_expressions)
        return f"(TIMESTAMPDIFF(MICROSECOND, {start[0]}, {end[0]}) / 1e6)", (*start[1], *end[1])
