"""Rows of tables whose app need not be installed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.db import connections
from django.utils import timezone
from django.utils.dateparse import parse_datetime


def table_names(database: str) -> set[str]:
    """The tables of a database."""
    return set(connections[database].introspection.table_names())


def table_rows(database: str, table: str) -> list[dict[str, Any]]:
    """All rows of a table; none if there is no such table."""
    if table not in table_names(database):
        return []
    connection = connections[database]
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")  # noqa: S608 - a constant
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def aware(value: Any) -> datetime:
    """A time as a table has it, which SQLite keeps as a text and MySQL without its zone."""
    moment = parse_datetime(value) if isinstance(value, str) else value
    if moment is None:
        raise ValueError(f"{value!r} is no time.")
    zone = UTC if settings.USE_TZ else timezone.get_default_timezone()
    return timezone.make_aware(moment, zone) if timezone.is_naive(moment) else moment
