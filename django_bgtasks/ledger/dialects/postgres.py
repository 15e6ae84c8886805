"""PostgreSQL: each statement is prepared once a connection, and has one plan."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any
from uuid import UUID

from django.db import connections

from ...core.payload import to_json
from ...models import Job
from . import prepared
from .columns import (
    DEFAULTS,
    FIELDS,
    FREE_SLOT,
    READ,
    SHARED,
    TABLE,
    WRITTEN,
    as_json,
    claimed,
    columns,
    named,
    written,
)

NOW = "STATEMENT_TIMESTAMP()"
# `state || ''` is no column of an index: each row is found by its id. By the partial index of a
# state, which PostgreSQL takes for shorter, a claim would read all the jobs that wait.
CLAIM = f"""\
UPDATE {TABLE} SET state = 'running', attempt = attempt + 1, claims = claims + 1,
    worker = %s::uuid, started_at = {NOW}, held_reason = '',
    dedup_slot = CASE WHEN dedup_scope = 'queued' THEN NULL ELSE dedup_slot END
WHERE id = ANY(%s::uuid[]) AND state || '' = 'queued'
    AND queue = ANY(COALESCE(%s::text[], ARRAY[queue]::text[]))
    AND backend = ANY(COALESCE(%s::text[], ARRAY[backend]::text[]))
RETURNING {", ".join(READ)}
"""
SETTLE = f"""\
UPDATE {TABLE} SET state = 'succeeded', error = '', error_code = '', error_params = NULL,
    finished_at = {NOW}, result = done.result::jsonb,
    dedup_slot = CASE WHEN dedup_scope = 'window' AND dedup_until > {NOW} THEN dedup_slot END
FROM unnest(%s::uuid[], %s::int[], %s::text[]) AS done(id, claims, result)
WHERE {TABLE}.id = done.id AND {TABLE}.claims = done.claims
    AND state || '' = 'running' AND worker = %s::uuid
RETURNING {TABLE}.id
"""


def insert(job: Job, if_free: bool, using: str) -> bool:
    """Insert the row. False if it was left out, for its dedup slot is taken."""
    names = named(job)
    rows = prepared.run(_insert(names, if_free), written(job, using, names), using)
    for (moment,) in rows:
        job.enqueued_at = moment
    return bool(rows)


@cache
def _insert(names: Sequence[str], if_free: bool) -> str:
    """Most calls leave most columns as they are: these are constants of the statement."""
    others = [name for name in WRITTEN if name not in names]
    constants = [_literal(DEFAULTS[name]) for name in others]
    conflicts = f"ON CONFLICT {FREE_SLOT} DO NOTHING" if if_free else ""
    return f"""\
INSERT INTO {TABLE} ({", ".join(columns([*names, *others]))}, enqueued_at)
VALUES ({", ".join([*["%s"] * len(names), *constants])}, {NOW})
{conflicts} RETURNING enqueued_at
"""


def _literal(value: Any) -> str:
    if value is None or isinstance(value, int):
        return "NULL" if value is None else str(int(value))
    return f"'{value if isinstance(value, str) else json.dumps(value)}'"


def insert_calls(first: Job, calls: Sequence[Any], using: str) -> None:
    """Insert a row for each call; all but its id and arguments is as in `first`."""
    values = written(first, using, SHARED)
    with connections[using].cursor() as cursor:
        cursor.execute(_insert_calls(using), [*values, as_json(calls)])


@cache
def _insert_calls(using: str) -> str:
    types = [FIELDS[name].db_type(connections[using]) for name in SHARED]
    return f"""\
INSERT INTO {TABLE} (id, args, kwargs, {", ".join(columns(SHARED))}, enqueued_at)
SELECT (call ->> 0)::uuid, (call -> 1)::jsonb, (call -> 2)::jsonb,
    {", ".join(f"%s::{kind}" for kind in types)}, {NOW}
FROM json_array_elements(%s::json) AS call
"""


def claim(
    job_ids: Sequence[UUID],
    worker: UUID,
    using: str,
    queues: Sequence[str],
    backends: Sequence[str],
) -> list[Job]:
    """Claim those of these jobs that are queued: in one of these queues, and with one of these
    aliases of a backend, if there are any.
    """
    only = [_array(names) if names else None for names in (queues, backends)]
    params = [worker, _array(map(str, job_ids)), *only]
    return [claimed(row, using) for row in prepared.run(CLAIM, params, using, searches=True)]


def settle(done: Sequence[tuple[Job, Any]], worker: UUID, using: str) -> set[UUID]:
    """Settle as succeeded those of these attempts whose claim still holds."""
    ids = _array(str(job.pk) for job, _ in done)
    claims = _array(str(job.claims) for job, _ in done)
    results = _array(None if result is None else to_json(result) for _, result in done)
    params = [ids, claims, results, worker]
    return {row[0] for row in prepared.run(SETTLE, params, using, searches=True)}


def _array(values: Iterable[str | None]) -> str:
    """An array as PostgreSQL reads it; psycopg takes several times longer to write one."""
    return "{" + ",".join("NULL" if value is None else _quoted(value) for value in values) + "}"


def _quoted(value: str) -> str:
    value = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{value}"'
