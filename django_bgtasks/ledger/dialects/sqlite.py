"""SQLite: the text alone, which its driver keeps compiled."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db import connections

from ...core.payload import to_json
from ...models import Job
from .columns import (
    FREE_SLOT,
    READ,
    SHARED,
    TABLE,
    WRITTEN,
    as_json,
    claimed,
    columns,
    enqueued_at,
    written,
)

NOW = "STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'NOW')"
INSERT = f"""\
INSERT INTO {TABLE} ({", ".join(columns(WRITTEN))}, enqueued_at)
VALUES ({", ".join(["%s"] * len(WRITTEN))}, {NOW})
"""
INSERT_IF_FREE = f"{INSERT}ON CONFLICT {FREE_SLOT} DO NOTHING"
INSERT_CALLS = f"""\
INSERT INTO {TABLE} (id, args, kwargs, {", ".join(columns(SHARED))}, enqueued_at)
SELECT value ->> 0, value -> 1, value -> 2, {", ".join(["%s"] * len(SHARED))}, {NOW}
FROM json_each(%s)
"""
CLAIM = f"""\
UPDATE {TABLE} SET state = 'running', attempt = attempt + 1, claims = claims + 1, worker = %s,
    started_at = {NOW}, held_reason = '',
    dedup_slot = CASE WHEN dedup_scope = 'queued' THEN NULL ELSE dedup_slot END
WHERE id IN (SELECT value FROM json_each(%s)) AND state = 'queued'
    AND (%s OR queue IN (SELECT value FROM json_each(%s)))
    AND (%s OR backend IN (SELECT value FROM json_each(%s)))
RETURNING {", ".join(READ)}
"""
# A plus takes a column out of the choice of an index: each row is found by its id.
SETTLE = f"""\
UPDATE {TABLE} SET state = 'succeeded', error = '', error_code = '', error_params = NULL,
    finished_at = {NOW}, result = done.result,
    dedup_slot = CASE WHEN dedup_scope = 'window' AND dedup_until > {NOW} THEN dedup_slot END
FROM (SELECT value ->> 0 AS id, value ->> 1 AS claims, value ->> 2 AS result
      FROM json_each(%s)) AS done
WHERE {TABLE}.id = done.id AND {TABLE}.claims = done.claims
    AND +state = 'running' AND worker = %s
RETURNING {TABLE}.id
"""


def insert(job: Job, if_free: bool, using: str) -> bool:
    """Insert the row. False if it was left out, for its dedup slot is taken."""
    statement = f"{INSERT_IF_FREE if if_free else INSERT} RETURNING enqueued_at"
    rows = _run(statement, written(job, using), using)
    for (moment,) in rows:
        job.enqueued_at = enqueued_at(moment, using)
    return bool(rows)


def insert_calls(first: Job, calls: Sequence[Any], using: str) -> None:
    """Insert a row for each call; all but its id and arguments is as in `first`."""
    _run(INSERT_CALLS, [*written(first, using, SHARED), as_json(calls)], using)


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
    ids = json.dumps([job_id.hex for job_id in job_ids])
    params = [worker.hex, ids, not queues, json.dumps(queues), not backends, json.dumps(backends)]
    return [claimed(row, using) for row in _run(CLAIM, params, using)]


def settle(done: Sequence[tuple[Job, Any]], worker: UUID, using: str) -> set[UUID]:
    """Settle as succeeded those of these attempts whose claim still holds."""
    table = [
        [job.pk.hex, job.claims, None if result is None else to_json(result)]
        for job, result in done
    ]
    return {UUID(row[0]) for row in _run(SETTLE, [json.dumps(table), worker.hex], using)}


def _run(sql: str, params: Sequence[Any], using: str) -> list[Any]:
    with connections[using].cursor() as cursor:
        cursor.execute(sql, params)
        rows: list[Any] = cursor.fetchall()
        return rows
