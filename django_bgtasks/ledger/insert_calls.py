"""The rows of many calls of a task in one statement, on PostgreSQL and SQLite."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from django.db import connections

from ..core.payload import to_json
from ..models import Job
from .statement_texts import FIELDS, OWN, TABLE, WRITTEN, columns
from .statements import Dialect, column_values

# Where each of OWN stands in the array of a call.
OF_JSON = ("value -> 1", "value -> 2")
SOURCES = ("value ->> 0", *OF_JSON, *(f"value ->> {n}" for n in range(3, len(OWN))))


def is_plain(job: Job) -> bool:
    """Whether the row holds values only: an expression is for the ORM to write."""
    return not [value for value in vars(job).values() if hasattr(value, "resolve_expression")]


def insert_rows(dialect: Dialect, first: Job, calls: Sequence[Any], using: str) -> None:
    """Insert a row for each of the calls, which have the first of OWN; everything else is as in
    `first`.
    """
    own = len(calls[0])
    array = to_json([[job_id.hex, *values] for job_id, *values in calls])
    shared = column_values(first, [name for name in WRITTEN if name not in OWN[:own]], using)
    with connections[using].cursor() as cursor:
        cursor.execute(_sql(dialect, using, own), [*shared, array])


@cache
def _sql(dialect: Dialect, using: str, own: int) -> str:
    """A row for each value of one JSON array, which has the first `own` of OWN."""
    names = [*OWN[:own], *(name for name in WRITTEN if name not in OWN[:own])]
    types = [str(FIELDS[name].db_type(connections[using])) for name in names]
    sources = [*SOURCES[:own], *["%s"] * (len(names) - own)]
    values = [dialect.cast(*each) for each in zip(sources, types, strict=True)]
    return f"""\
INSERT INTO {TABLE} ({columns(names)}, enqueued_at)
SELECT {", ".join(values)}, {dialect.now}
FROM {dialect.calls}
"""
