"""The texts of the hot statements: insert, claim and settle on PostgreSQL and SQLite.

Each is stated once, with its states from Transition; what the two databases say differently is in
their Dialect, which runs them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import Any, Protocol

from ..core.states import State, Transition, WaitsFor
from ..models import Batch, Job

TABLE = Job._meta.db_table
FIELDS = {field.attname: field for field in Job._meta.concrete_fields}
# The database's clock writes this one.
WRITTEN = [name for name in FIELDS if name != "enqueued_at"]
# What a row has of which nobody says otherwise.
DEFAULTS = {name: FIELDS[name].get_default() for name in WRITTEN if name != "id"}
# What a call has of limits, a sequence and a rate.
OF_LIMITS = ("lane", "at_once", "lane_mode", "turn", "rate", "starts", "per")
# What each of many calls of a task has of its own: the first three always, and then none of the
# others, the label, or all of them.
OWN = ("id", "args", "kwargs", "label", "state", "waits_for", *OF_LIMITS)
# What a run does not need of its job's row: it is read if somebody asks for it.
UNREAD = {
    *("state", "finished_at", "result", "dedup_slot", "dedup_until"),
    *("progress_done", "progress_total", "progress_message", "error_params", "held_reason"),
    *("label", "expires_at", "schedule", "at_once", "turn", "waits_for", "starts", "gate_on"),
}
READ = tuple(name for name in FIELDS if name not in UNREAD)
# What is read of a job that is released: it may be one of many thousands.
RELEASED = (
    *("id", "queue", "priority", "task", "backend", "state", "waits_for"),
    *("lane", "lane_mode", "rate", "batch"),
)
# So often PostgreSQL makes a plan of its own for the values, before it compares.
CUSTOM_PLANS = 5
# Nothing but a dedup slot that is taken: other errors are to be seen.
FREE_SLOT = "(dedup_slot) WHERE dedup_slot IS NOT NULL"


class Syntax(Protocol):
    """What a text asks of a dialect: see statements.Dialect."""

    now: str
    state: str
    ends: str

    def cast(self, value: str, kind: str) -> str: ...

    def any_of(self, kind: str) -> str: ...


@cache
def insert_sql(dialect: Syntax, names: Sequence[str], if_free: bool) -> str:
    """Most calls leave most columns as they are: these are constants of the statement."""
    others = [name for name in WRITTEN if name not in names]
    unless_taken = f"ON CONFLICT {FREE_SLOT} DO NOTHING" if if_free else ""
    values = [*["%s"] * len(names), *(_literal(DEFAULTS[name]) for name in others)]
    return f"""\
INSERT INTO {TABLE} ({columns([*names, *others])}, enqueued_at)
VALUES ({", ".join(values)}, {dialect.now})
{unless_taken} RETURNING enqueued_at
"""


@cache
def claim_sql(dialect: Syntax, by_queue: bool = False, by_backend: bool = False) -> str:
    [source] = Transition.CLAIM.sources
    where = [f"id {dialect.any_of('uuid')}", f"{dialect.state} = '{source}'"]
    where += [f"(expires_at IS NULL OR attempt > 0 OR expires_at > {dialect.now})"]
    where += [f"queue {dialect.any_of('text')}"] if by_queue else []
    where += [f"backend {dialect.any_of('text')}"] if by_backend else []
    return f"""\
UPDATE {TABLE} SET {claim_values(dialect)}
WHERE {" AND ".join(where)}
RETURNING {", ".join(READ)}
"""


def claim_values(dialect: Syntax) -> str:
    """What a claim by the worker, its parameter, writes. It counts, so a crash counts."""
    return f"""state = '{Transition.CLAIM.target}', attempt = attempt + 1, claims = claims + 1,
    worker = (SELECT {dialect.cast("%s", "uuid")}), started_at = {dialect.now}, held_reason = '',
    dedup_slot = CASE WHEN dedup_scope = 'queued' THEN NULL ELSE dedup_slot END"""


@cache
def settle_sql(dialect: Syntax) -> str:
    """The claim is compared in the same statement: (worker, claims) is the fencing token."""
    [source], target = Transition.SUCCEED.sources, Transition.SUCCEED.target
    window = f"dedup_scope = 'window' AND dedup_until > {dialect.now}"
    return f"""\
UPDATE {TABLE} SET state = '{target}', error = '', error_code = '', error_params = NULL,
    finished_at = {dialect.now}, result = {dialect.cast("done.result", "jsonb")},
    dedup_slot = CASE WHEN {window} THEN dedup_slot END, place = NULL, seat = NULL
FROM {dialect.ends}
WHERE {TABLE}.id = done.id AND {TABLE}.claims = done.claims
    AND {dialect.state} = '{source}' AND worker = (SELECT {dialect.cast("%s", "uuid")})
RETURNING {TABLE}.id
"""


@cache
def open_sql(dialect: Syntax) -> str:
    """Open the batches that wait for these jobs or batches."""
    return f"""\
UPDATE {Batch._meta.db_table} SET opened_at = {dialect.now}
WHERE gate {dialect.any_of("uuid")} AND opened_at IS NULL AND finished_at IS NULL
RETURNING id
"""


@cache
def release_sql(dialect: Syntax) -> str:
    """Let begin, or wait for its time or its place, what waits for these ends of jobs or batches.

    That it waits says `gate`, too: its index is the one to read.
    """
    is_early = f"run_after > {dialect.now}"
    needs_place, needs_seat = (
        "lane IS NOT NULL AND place IS NULL",
        "rate IS NOT NULL AND seat IS NULL",
    )
    [blocked], released = Transition.UNBLOCK.sources, Transition.UNBLOCK.target
    return f"""\
UPDATE {TABLE} SET
    waits_for = CASE WHEN {is_early} THEN '' WHEN {needs_place} THEN '{WaitsFor.LANE}'
        WHEN {needs_seat} THEN '{WaitsFor.RATE}' ELSE '' END,
    state = CASE WHEN {is_early} THEN '{State.SCHEDULED}'
        WHEN {needs_place} OR {needs_seat} THEN '{blocked}' ELSE '{released}' END,
    run_after = CASE WHEN {is_early} THEN run_after ELSE {dialect.now} END
WHERE gate {dialect.any_of("uuid")} AND gate_on {dialect.any_of("text")}
    AND {dialect.state} = '{blocked}' AND waits_for = '{WaitsFor.GATE}'
RETURNING {", ".join(RELEASED)}
"""


def columns(names: Sequence[str]) -> str:
    return ", ".join(str(FIELDS[name].column) for name in names)


def _literal(value: Any) -> str:
    if value is None or isinstance(value, int):
        return "NULL" if value is None else str(value).upper()
    return f"'{value if isinstance(value, str) else json.dumps(value)}'"


def plan_for_good(name: bytes, width: int) -> bytes:
    """What makes PostgreSQL settle on one plan: to plan each execution takes longer than it does.

    It decides after five executions, which find nothing here, with NULLs. No plan of theirs may
    read the whole table, which is the cheapest way while that is empty.
    """
    nothing = b"EXECUTE %b (%b)" % (name, b", ".join([b"NULL"] * width))
    return b"SET LOCAL enable_seqscan = off; " + b"; ".join([nothing] * (CUSTOM_PLANS + 1))
