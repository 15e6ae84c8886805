"""What waits for a job or a batch of a workflow begins, on PostgreSQL and SQLite."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from django.db import connections

from ..models import Job
from .statement_texts import RELEASED, open_sql, release_sql
from .statements import Dialect, job_of_row, run_plainly, uuid_of


def release_rows(
    dialect: Dialect, gates: Collection[UUID], ends: Collection[str], using: str, opens: bool
) -> tuple[list[UUID], list[Job]]:
    """Let begin what waits for these ends of these jobs or batches. opens: batches, too.

    Returns the batches that were opened, and the jobs. Planned each time: it is rare, and its plan
    must not be that of an empty table.
    """
    params, opened = [dialect.array(gate.hex for gate in gates)], list[UUID]()
    connection = connections[using]
    # Whoever adds to a batch has locked it, and may add another one: then once more.
    while opens and (rows := run_plainly(open_sql(dialect), params, connection)):
        opened += [uuid_of(pk) for (pk,) in rows]
    rows = run_plainly(release_sql(dialect), [*params, dialect.array(ends)], connection)
    return opened, [job_of_row(row, RELEASED, using) for row in rows]
