"""The statement that admits: it pairs the free numbers of keys with the first jobs that wait there.

The same for the places of limits and sequences and for the seats of rates. keys: those to look at.
own: the numbers that the caller has freed. head: the first that waits, and how many numbers its key
has for it. used: how many of the key's numbers somebody has, and the highest of them. free: those
for the first that are free. room: for how many more there is room. line: the first that wait, as
many as there is room for; each may have been enqueued with another limit, and the first one that
does not fit ends the line. Nobody behind these is looked at, even where one of them is locked: a
sequence is not overtaken.

What the caller has freed goes first, so that two callers take different numbers. Not where somebody
has a number above the limit, which was lowered: the numbers below it are too many then, and two
callers must want the same ones, so that the unique pair stops one of them.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from django.db.models import Case, Q, Value, When

from ..core.limits import IN_ORDER, MAX_PLACES
from ..core.states import State, Transition, WaitsFor
from ..models import LimitOverride, QueuePause, Seat
from .statement_texts import READ, TABLE, claim_values, settle_sql
from .statements import Dialect

OVERRIDES, PAUSES, SEATS = (model._meta.db_table for model in (LimitOverride, QueuePause, Seat))
MODES_IN_ORDER = ", ".join(f"'{mode.value}'" for mode in sorted(IN_ORDER))
[BLOCKED], QUEUED = Transition.UNBLOCK.sources, Transition.UNBLOCK.target
ORDER = "ORDER BY j.turn, j.enqueued_at, j.id"
RETURNED = ", ".join(
    f"{TABLE}.{name}"
    for name in ("id", "queue", "priority", "task", "backend", "waits_for", "rate")
)
# It can run from now on: what it has waited until here says nothing of its queue.
CAN_RUN = {
    "postgresql": "run_after = STATEMENT_TIMESTAMP()",
    "sqlite": "run_after = STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'NOW')",
}
# So many of a lane are read together for who claims one after another.
SOME_BEHIND = 20
# A job gets its seat so many seconds before it is free, and begins on time.
AHEAD = 0.1
SOON = {
    "postgresql": f"STATEMENT_TIMESTAMP() + INTERVAL '{AHEAD} s'",
    "sqlite": f"STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'NOW', '{AHEAD} seconds')",
}


class Kind(NamedTuple):
    """What jobs wait for, and where it stands in their rows.

    key, number: the columns. of_key: what is read once for each key `k`, beside its name. allowed:
    how many numbers the key of `keys` has, as the first job `j` that waits for one says. busy: the
    condition that number `n` of the key of `head` cannot be had yet, though no job has it. placed:
    what is written into the row of a job that gets one.
    """

    waits_for: WaitsFor
    key: str
    number: str
    of_key: str
    allowed: str
    busy: str
    placed: str


IS_PAUSED = f"""\
EXISTS (SELECT 1 FROM {PAUSES} p WHERE p.queue = j.queue AND p.backend = j.backend)"""
OVERRIDE = f"SELECT o.at_once FROM {OVERRIDES} o WHERE"
LANE = Kind(
    WaitsFor.LANE,
    "lane",
    "place",
    f""", ({OVERRIDE} o.key = k.key AND NOT o.is_prefix) AS own_limit,
        ({OVERRIDE} o.key = k.prefix AND o.is_prefix) AS prefix_limit""",
    f"""CASE WHEN j.lane_mode IN ({MODES_IN_ORDER})
        THEN CASE WHEN keys.own_limit = 0 THEN 0 ELSE 1 END
        ELSE COALESCE(keys.own_limit, keys.prefix_limit, j.at_once) END""",
    "1 = 0",
    f"""place = free.n, state = CASE WHEN rate IS NULL THEN '{QUEUED}' ELSE '{BLOCKED}' END,
        waits_for = CASE WHEN rate IS NULL THEN '' ELSE '{WaitsFor.RATE}' END""",
)
RATE = Kind(
    WaitsFor.RATE,
    "rate",
    "seat",
    "",
    "j.starts",
    f"""EXISTS (SELECT 1 FROM {SEATS} s
        WHERE s.rate = head.key AND s.number = n AND s.free_at > {{soon}})""",
    f"seat = free.n, state = '{QUEUED}', waits_for = ''",
)


def queued_or_blocked() -> dict[str, Any]:
    """What is written into the row of a job whose time has come: it may need a place first, and
    then a seat.
    """
    needs_place = Q(lane__isnull=False, place__isnull=True)
    needs_seat = Q(rate__isnull=False, seat__isnull=True)
    waits_for = (
        When(needs_place, then=Value(LANE.waits_for)),
        When(needs_seat, then=Value(RATE.waits_for)),
    )
    is_blocked = When(needs_place | needs_seat, then=Value(State.BLOCKED))
    return {
        "waits_for": Case(*waits_for, default=Value("")),
        "state": Case(is_blocked, default=Value(State.QUEUED)),
    }


@cache
def admit_sql(kind: Kind, vendor: str) -> str:
    """The statement for jobs that wait for this; its parameters are the keys and the own numbers.

    It returns a row for each job that it considered, with NULLs for one that got nothing.
    """
    waits = _waits(kind)
    numbers_of_key = f"""\
FROM {TABLE} h WHERE h.{kind.key} = head.key AND h.{kind.number} IS NOT NULL"""
    free = f"""\
head AS (
    SELECT keys.key, {kind.allowed} AS allowed
    FROM keys JOIN {TABLE} j ON j.id = (
        {_first(kind)})
), used AS MATERIALIZED (
    SELECT key, allowed, (SELECT COUNT(*) {numbers_of_key}) AS used,
        COALESCE((SELECT MAX(h.{kind.number}) {numbers_of_key}), 0) AS highest
    FROM head
), numbers(n) AS (
    SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < (SELECT MAX(allowed) FROM head)
), free AS (
    SELECT head.key, n, ROW_NUMBER() OVER (PARTITION BY head.key ORDER BY CASE WHEN
        highest <= allowed AND EXISTS (
            SELECT 1 FROM own WHERE own.key = head.key AND own.n = numbers.n)
        THEN 0 ELSE 1 END, n) AS turn
    FROM used AS head JOIN numbers ON n <= allowed AND used < allowed
    WHERE NOT {kind.busy.format(soon=SOON[vendor])} AND (
        SELECT h.id FROM {TABLE} h WHERE h.{kind.key} = head.key AND h.{kind.number} = n) IS NULL
), counted AS MATERIALIZED (
    SELECT key, allowed, used, (SELECT COUNT(*) FROM free WHERE free.key = used.key) AS free
    FROM used
), room AS (
    SELECT key, used, CASE WHEN free < allowed - used THEN free ELSE allowed - used END AS room
    FROM counted
)"""
    build = _postgresql if vendor == "postgresql" else _sqlite
    return build(kind, free, waits)


def _waits(kind: Kind) -> str:
    """The condition that job `j` waits for such a number, and can get one.

    A paused queue takes no places and no seats; in a sequence its jobs keep their turn. For seats
    that is never so, and said all the same: a NOT EXISTS alone PostgreSQL makes a join, which reads
    all that wait.
    """
    keeps_turn = f"j.lane_mode IN ({MODES_IN_ORDER})" if kind is LANE else "j.rate IS NULL"
    return f"""\
j.waits_for = '{kind.waits_for}' AND ({keeps_turn} OR NOT {IS_PAUSED})"""


def _first(kind: Kind) -> str:
    """The id of the first that waits for the key of `keys`."""
    return f"""\
SELECT j.id FROM {TABLE} j WHERE j.{kind.key} = keys.key AND {_waits(kind)} {ORDER} LIMIT 1"""


def _postgresql(kind: Kind, free: str, waits: str) -> str:
    """The numbers of rows that it expects depend neither on the parameters nor on how many wait: so
    it has one plan for all keys, and seems too cheap to be compiled by JIT. What looks a row up by
    its key is written such that the plan cannot read the whole table, or all that wait, instead:
    the table may be known as it was when it was empty.
    """
    return f"""\
WITH RECURSIVE keys AS MATERIALIZED (
    SELECT k.*{kind.of_key} FROM unnest((SELECT %s::text[]), (SELECT %s::text[])) AS k(key, prefix)
), own AS (
    SELECT * FROM unnest((SELECT %s::text[]), (SELECT %s::int[])) AS own(key, n)
), {free}, first AS (
    SELECT room.key, j.id, allowed, used + ROW_NUMBER() OVER (PARTITION BY room.key {ORDER}) AS used
    FROM room JOIN keys ON keys.key = room.key CROSS JOIN LATERAL (
        SELECT * FROM (
            SELECT j.id, j.turn, j.enqueued_at, {kind.allowed} AS allowed FROM {TABLE} j
            WHERE j.{kind.key} = room.key AND {waits} {ORDER} LIMIT {MAX_PLACES}
        ) AS most LIMIT GREATEST(room.room, 0)
    ) AS j
), line AS (
    SELECT key, id, allowed FROM (
        SELECT *, BOOL_AND(used <= allowed) OVER (PARTITION BY key ORDER BY used) AS fits FROM first
    ) AS first WHERE fits
), unlocked AS (
    SELECT line.key, j.id, allowed, ROW_NUMBER() OVER (PARTITION BY line.key {ORDER}) AS turn
    FROM line CROSS JOIN LATERAL (
        SELECT j.id, j.turn, j.enqueued_at FROM {TABLE} j
        WHERE j.id = line.id AND j.waits_for || '' = '{kind.waits_for}'
            AND j.{kind.key} || '' = line.key FOR UPDATE SKIP LOCKED
    ) AS j
), moved AS (
    UPDATE {TABLE} SET {kind.placed}, {CAN_RUN["postgresql"]}
    FROM unlocked JOIN free ON free.key = unlocked.key AND free.turn = unlocked.turn
        AND free.n <= unlocked.allowed
    WHERE {TABLE}.id = unlocked.id AND {TABLE}.state || '' = '{BLOCKED}'
    RETURNING {RETURNED}
)
SELECT moved.* FROM line LEFT JOIN moved ON moved.id = line.id
"""


def _sqlite(kind: Kind, free: str, waits: str) -> str:
    """It has no LATERAL: each job of the line is found behind the one before."""
    return f"""\
WITH RECURSIVE keys AS MATERIALIZED (
    SELECT k.*{kind.of_key}
    FROM (SELECT value ->> 0 AS key, value ->> 1 AS prefix FROM json_each(%s)) AS k
), own(key, n) AS (SELECT value ->> 0, value ->> 1 FROM json_each(%s)),
{free}, line(key, used, room, number, id, turn, enqueued_at, allowed) AS (
    SELECT room.key, used, room, 1, j.id, j.turn, j.enqueued_at, {kind.allowed}
    FROM room JOIN keys ON keys.key = room.key JOIN {TABLE} j ON j.id = (
        SELECT j.id FROM {TABLE} j WHERE j.{kind.key} = room.key AND {waits} {ORDER} LIMIT 1)
    WHERE room > 0
    UNION ALL
    SELECT line.key, used, room, number + 1, j.id, j.turn, j.enqueued_at, {kind.allowed}
    FROM line JOIN keys ON keys.key = line.key JOIN {TABLE} j ON j.id = (
        SELECT j.id FROM {TABLE} j WHERE j.{kind.key} = line.key AND {waits}
        AND (j.turn, j.enqueued_at, j.id) > (line.turn, line.enqueued_at, line.id) {ORDER} LIMIT 1)
    WHERE number < room AND used + number + 1 <= {kind.allowed}
)
UPDATE {TABLE} SET {kind.placed}, {CAN_RUN["sqlite"]}
FROM line JOIN free ON free.key = line.key AND free.turn = line.number AND free.n <= line.allowed
WHERE {TABLE}.id = line.id AND {TABLE}.state = '{BLOCKED}'
RETURNING {RETURNED}
"""


@cache
def first_sql(vendor: str) -> str:
    """Who is the first in line in these lanes, with some of those behind, in their order: the lane,
    the queue, the priority, the backend and their ids; no ids if they are not all of one queue, one
    priority and one backend.
    """
    few = f"{TABLE} j WHERE j.lane = keys.key AND {_waits(LANE)} {ORDER} LIMIT {SOME_BEHIND}"
    columns = "queue", "priority", "backend"
    of_all = ", ".join(f"MIN({name}) AS {name}" for name in columns)
    is_one = " AND ".join(f"MIN({name}) = MAX({name})" for name in columns)
    if vendor == "postgresql":
        return f"""\
WITH keys AS (SELECT * FROM unnest((SELECT %s::text[])) AS keys(key))
SELECT keys.key, line.* FROM keys CROSS JOIN LATERAL (
    SELECT {of_all}, CASE WHEN {is_one} THEN ARRAY_AGG(id) ELSE '{{}}' END
    FROM (SELECT j.* FROM {few}) AS j HAVING COUNT(*) > 0
) AS line
"""
    return f"""\
WITH keys(key) AS (SELECT value FROM json_each(%s))
SELECT key, {of_all}, CASE WHEN {is_one} THEN JSON_GROUP_ARRAY(id) ELSE '[]' END FROM (
    SELECT keys.key, {TABLE}.* FROM keys JOIN {TABLE} ON {TABLE}.id IN (SELECT j.id FROM {few})
    {ORDER.replace("j.", f"{TABLE}.")}
) GROUP BY key
"""


@cache
def hand_on_sql(dialect: Dialect) -> str:
    """Settle successes, give their numbers of lanes to who is next, and claim these jobs.

    It is settle_sql() and claim_next_sql() in one statement of PostgreSQL, whose parameters it has.
    The second part has its rows from the first one: so they are locked and written later, and only
    for who was settled. Returned for each of those: its id, and what a claim reads of who is next.
    The join is a full one, for that cannot compare each with each.
    """
    return f"""\
WITH settled AS ({settle_sql(dialect)}, lane
), keys AS MATERIALIZED (
    SELECT k.*{LANE.of_key} FROM settled JOIN unnest((SELECT %s::text[]), (SELECT %s::text[]),
        (SELECT %s::uuid[]), (SELECT %s::int[])) AS k(key, prefix, id, n) ON k.key = settled.lane
), next AS (
    SELECT keys.n, j.id FROM keys CROSS JOIN LATERAL (
        SELECT j.id FROM {TABLE} j
        WHERE j.id = keys.id AND j.waits_for || '' = '{LANE.waits_for}' AND j.lane || '' = keys.key
            AND {_fits(dialect)}
        FOR UPDATE SKIP LOCKED
    ) AS j
), claimed AS ({_claim_next(dialect, "postgresql")}
)
SELECT settled.id, claimed.* FROM settled FULL JOIN claimed ON claimed.lane = settled.lane
"""


@cache
def claim_next_sql(dialect: Dialect) -> str:
    """Give numbers of lanes to these jobs, and claim them, if they are the first in line: SQLite.

    It is admit_sql() and claim_sql() for who knows what it will find, so that a crash can be
    charged to the job. Its parameters are rows of (lane, prefix, job, number), and the worker. What
    needs more than the number is left out, and all where somebody has a number above the limit.
    """
    return f"""\
WITH keys AS MATERIALIZED (
    SELECT k.*{LANE.of_key} FROM (SELECT value ->> 0 AS key, value ->> 1 AS prefix,
        value ->> 2 AS id, value ->> 3 AS n FROM json_each(%s)) AS k
), next AS (
    SELECT keys.n, j.id FROM keys JOIN {TABLE} j ON j.id = keys.id WHERE {_fits(dialect)}
)
{_claim_next(dialect, "sqlite")}
"""


def _fits(dialect: Dialect) -> str:
    """The condition that job `j` can have number `n` of the key of `keys`, and run with it. In a
    paused queue none runs, though one of a sequence has its turn.
    """
    return f"""\
j.rate IS NULL AND (j.expires_at IS NULL OR j.attempt > 0 OR j.expires_at > {dialect.now})
    AND NOT {IS_PAUSED}
    AND keys.n <= {LANE.allowed} AND COALESCE((
        SELECT MAX(h.place) FROM {TABLE} h WHERE h.lane = keys.key AND h.place IS NOT NULL), 0
    ) <= {LANE.allowed} AND j.id = ({_first(LANE)})"""


def _claim_next(dialect: Dialect, vendor: str) -> str:
    """Give their numbers to the jobs of `next`, and claim them."""
    state = dialect.state.replace("state", f"{TABLE}.state")
    return f"""\
UPDATE {TABLE} SET place = next.n, waits_for = '', {CAN_RUN[vendor]}, {claim_values(dialect)}
FROM next WHERE {TABLE}.id = next.id AND {state} = '{BLOCKED}'
RETURNING {", ".join(f"{TABLE}.{name}" for name in READ)}"""
