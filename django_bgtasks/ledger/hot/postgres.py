"""PostgreSQL: each statement is prepared once a connection, and has one plan."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import Any
from uuid import UUID
from weakref import WeakKeyDictionary

from django.db import connections

from ...models import Job
from .columns import FIELDS, READ, SHARED, TABLE, WRITTEN, as_json, claimed, columns, written

NOW = "STATEMENT_TIMESTAMP()"
INSERT = f"""
INSERT INTO {TABLE} ({", ".join(columns(WRITTEN))}, enqueued_at)
VALUES ({", ".join(f"${number}" for number, _ in enumerate(WRITTEN, 1))}, {NOW})
"""
STATEMENTS = {
    "insert": f"{INSERT} RETURNING enqueued_at",
    "insert_or_ignore": f"{INSERT} ON CONFLICT DO NOTHING RETURNING enqueued_at",
    "claim": f"""\
UPDATE {TABLE} SET state = 'running', attempt = attempt + 1, claims = claims + 1, worker = $1,
    started_at = {NOW},
    dedup_slot = CASE WHEN dedup_scope = 'queued' THEN NULL ELSE dedup_slot END
WHERE id = ANY($2) AND state = 'queued' AND ($3 IS NULL OR queue = ANY($3))
RETURNING {", ".join(READ)}
""",
    "settle": f"""\
UPDATE {TABLE} SET state = 'succeeded', error = '', finished_at = {NOW},
    result = done.result::jsonb,
    dedup_slot = CASE WHEN dedup_scope = 'window' AND dedup_until > {NOW} THEN dedup_slot END
FROM unnest($1, $2, $3) AS done(id, claims, result)
WHERE {TABLE}.id = done.id AND {TABLE}.claims = done.claims
    AND state = 'running' AND worker = $4
RETURNING {TABLE}.id
""",
}
TYPES = {"claim": "(uuid, uuid[], text[])", "settle": "(uuid[], int[], text[], uuid)"}
_prepared: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()


def insert(job: Job, ignore_conflicts: bool, alias: str) -> bool:
    """Insert the row. False if it was left out, for its dedup slot is taken."""
    name = "insert_or_ignore" if ignore_conflicts else "insert"
    rows = _run(name, written(job, alias), alias)
    for (moment,) in rows:
        job.enqueued_at = moment
    return bool(rows)


def insert_calls(first: Job, calls: Sequence[Any], alias: str) -> None:
    """Insert a row for each call; all but its id and arguments is as in `first`."""
    values = written(first, alias, SHARED)
    with connections[alias].cursor() as cursor:
        cursor.execute(_insert_calls(alias), [*values, as_json(calls)])


@cache
def _insert_calls(alias: str) -> str:
    types = [FIELDS[name].db_type(connections[alias]) for name in SHARED]
    return f"""\
INSERT INTO {TABLE} (id, args, kwargs, {", ".join(columns(SHARED))}, enqueued_at)
SELECT (call ->> 0)::uuid, (call -> 1)::jsonb, (call -> 2)::jsonb,
    {", ".join(f"%s::{kind}" for kind in types)}, {NOW}
FROM json_array_elements(%s::json) AS call
"""


def claim(job_ids: Sequence[UUID], worker: UUID, alias: str, queues: Sequence[str]) -> list[Job]:
    """Claim those of these jobs that are queued, in one of these queues if there are any."""
    params = [worker, list(job_ids), list(queues) or None]
    return [claimed(row, alias) for row in _run("claim", params, alias)]


def settle(done: Sequence[tuple[Job, Any]], worker: UUID, alias: str) -> set[UUID]:
    """Settle as succeeded those of these attempts whose claim still holds."""
    ids = [job.pk for job, _ in done]
    claims = [job.claims for job, _ in done]
    results = [None if result is None else json.dumps(result) for _, result in done]
    return {row[0] for row in _run("settle", [ids, claims, results, worker], alias)}


def _run(name: str, params: Sequence[Any], alias: str) -> list[Any]:
    connection = connections[alias]
    connection.ensure_connection()
    prepared = _prepared.setdefault(connection.connection, set())
    with connection.cursor() as cursor:
        if name not in prepared:
            types = TYPES.get(name, "")
            cursor.execute(f"PREPARE bgtasks_{name} {types} AS {STATEMENTS[name]}")
            prepared.add(name)
        marks = ", ".join(["%s"] * len(params))
        cursor.execute(f"EXECUTE bgtasks_{name} ({marks})", params)
        rows: list[Any] = cursor.fetchall()
        return rows
