"""The rows of many calls of a task in one statement, on PostgreSQL and SQLite."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from django.db import connections

from ..core.payload import to_json
from ..models import Job
from .statements import FIELDS, TABLE, WRITTEN, Dialect, column_values, columns

# What the calls have in common.
SHARED = [name for name in WRITTEN if name not in ("id", "args", "kwargs")]
UNLABELLED = [name for name in SHARED if name != "label"]


def insert_rows(dialect: Dialect, first: Job, calls: Sequence[Any], using: str) -> None:
    """Insert a row for each (id, args, kwargs), or (id, args, kwargs, label); everything else is
    as in `first`.
    """
    labelled = len(calls[0]) > 3
    array = to_json([[job_id.hex, *own] for job_id, *own in calls])
    shared = column_values(first, UNLABELLED if labelled else SHARED, using)
    with connections[using].cursor() as cursor:
        cursor.execute(_sql(dialect, using, labelled), [*shared, array])


@cache
def _sql(dialect: Dialect, using: str, labelled: bool) -> str:
    """A row for each value of one JSON array."""
    shared = UNLABELLED if labelled else SHARED
    types = [str(FIELDS[name].db_type(connections[using])) for name in shared]
    own = [("value ->> 0", "uuid"), ("value -> 1", "jsonb"), ("value -> 2", "jsonb")]
    own += [("value ->> 3", "text")] if labelled else []
    names = ["id", "args", "kwargs", *(["label"] if labelled else []), *shared]
    values = [dialect.cast(*each) for each in [*own, *(("%s", kind) for kind in types)]]
    return f"""\
INSERT INTO {TABLE} ({columns(names)}, enqueued_at)
SELECT {", ".join(values)}, {dialect.now}
FROM {dialect.calls}
"""
