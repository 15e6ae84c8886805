"""The statement that admits: it pairs the free places of lanes with the first jobs that wait there.

asked: the lanes. own: the numbers that the caller has freed. head: the first that waits; it says
how many the lane may have at once, if no override does. open: how many jobs a lane may have, and
for how many more there is room. free: its free numbers. line: the first that wait, as many as there
is room for. Nobody behind these is looked at, even where one of them is locked: a sequence is not
overtaken.
"""

from __future__ import annotations

from ..core.limits import IN_ORDER, MAX_PLACES
from ..core.states import Transition, WaitsFor
from ..models import LimitOverride, QueuePause
from .statements import TABLE

OVERRIDES, PAUSES = LimitOverride._meta.db_table, QueuePause._meta.db_table
MODES_IN_ORDER = ", ".join(f"'{mode.value}'" for mode in sorted(IN_ORDER))
[BLOCKED], QUEUED = Transition.UNBLOCK.sources, Transition.UNBLOCK.target

# In a limit, a paused queue takes no places; in a sequence its jobs keep their turn.
WAITS = f"""\
j.waits_for = '{WaitsFor.LANE}' AND (j.lane_mode IN ({MODES_IN_ORDER}) OR NOT EXISTS (
        SELECT 1 FROM {PAUSES} p WHERE p.queue = j.queue AND p.backend = j.backend))"""
LINE = "ORDER BY j.turn, j.enqueued_at, j.id"
ROOM = f"""\
head AS (
    SELECT asked.lane, j.lane_mode, COALESCE(
        (SELECT o.at_once FROM {OVERRIDES} o WHERE o.key = asked.lane AND NOT o.is_prefix),
        (SELECT o.at_once FROM {OVERRIDES} o WHERE o.key = asked.prefix AND o.is_prefix),
        j.at_once) AS allowed
    FROM asked JOIN {TABLE} j ON j.id = (
        SELECT j.id FROM {TABLE} j WHERE j.lane = asked.lane AND {WAITS} {LINE} LIMIT 1)
), bounded AS (
    SELECT lane, CASE WHEN allowed > 1 AND lane_mode IN ({MODES_IN_ORDER}) THEN 1 ELSE allowed END
        AS allowed
    FROM head
), open AS (
    SELECT lane, allowed, allowed - (
        SELECT COUNT(*) FROM {TABLE} h WHERE h.lane = bounded.lane AND h.place IS NOT NULL
    ) AS room
    FROM bounded
), numbers(n) AS (
    SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < (SELECT MAX(allowed) FROM open)
), free AS (
    SELECT open.lane, n AS place, ROW_NUMBER() OVER (PARTITION BY open.lane ORDER BY CASE WHEN
        EXISTS (SELECT 1 FROM own WHERE own.lane = open.lane AND own.place = n)
        THEN 0 ELSE 1 END, n) AS number
    FROM open JOIN numbers ON n <= allowed
    WHERE room > 0 AND NOT EXISTS (
        SELECT 1 FROM {TABLE} h WHERE h.lane = open.lane AND h.place = n)
)"""
PLACED = f"state = '{QUEUED}', waits_for = '', place = free.place"
RETURNED = ", ".join(f"{TABLE}.{name}" for name in ("id", "queue", "priority", "task", "backend"))

POSTGRESQL = f"""\
WITH RECURSIVE asked AS (
    SELECT * FROM unnest((SELECT %s::text[]), (SELECT %s::text[])) AS asked(lane, prefix)
), own AS (
    SELECT * FROM unnest((SELECT %s::text[]), (SELECT %s::int[])) AS own(lane, place)
), {ROOM}, line AS (
    SELECT open.lane, first.id
    FROM open CROSS JOIN LATERAL (
        SELECT most.id FROM (
            SELECT j.id, j.turn, j.enqueued_at FROM {TABLE} j
            WHERE j.lane = open.lane AND {WAITS} {LINE} LIMIT {MAX_PLACES}
        ) AS most LIMIT GREATEST(open.room, 0)
    ) AS first
), unlocked AS (
    SELECT line.lane, j.id, ROW_NUMBER() OVER (PARTITION BY line.lane {LINE}) AS number
    FROM line CROSS JOIN LATERAL (
        SELECT j.id, j.turn, j.enqueued_at FROM {TABLE} j
        WHERE j.id = line.id AND j.waits_for = '{WaitsFor.LANE}' FOR UPDATE SKIP LOCKED
    ) AS j
), moved AS (
    UPDATE {TABLE} SET {PLACED}
    FROM unlocked JOIN free ON free.lane = unlocked.lane AND free.number = unlocked.number
    WHERE {TABLE}.id = unlocked.id AND {TABLE}.state || '' = '{BLOCKED}'
    RETURNING {RETURNED}
)
SELECT moved.* FROM line LEFT JOIN moved ON moved.id = line.id
"""

SQLITE = f"""\
WITH RECURSIVE asked(lane, prefix) AS (SELECT value ->> 0, value ->> 1 FROM json_each(%s)),
own(lane, place) AS (SELECT value ->> 0, value ->> 1 FROM json_each(%s)),
{ROOM}, line(lane, room, number, id, turn, enqueued_at) AS (
    SELECT open.lane, room, 1, j.id, j.turn, j.enqueued_at
    FROM open JOIN {TABLE} j ON j.id = (
        SELECT j.id FROM {TABLE} j WHERE j.lane = open.lane AND {WAITS} {LINE} LIMIT 1)
    WHERE room > 0
    UNION ALL
    SELECT line.lane, room, number + 1, j.id, j.turn, j.enqueued_at
    FROM line JOIN {TABLE} j ON j.id = (
        SELECT j.id FROM {TABLE} j WHERE j.lane = line.lane AND {WAITS}
        AND (j.turn, j.enqueued_at, j.id) > (line.turn, line.enqueued_at, line.id) {LINE} LIMIT 1)
    WHERE number < room
)
UPDATE {TABLE} SET {PLACED}
FROM line JOIN free ON free.lane = line.lane AND free.number = line.number
WHERE {TABLE}.id = line.id AND {TABLE}.state = '{BLOCKED}'
RETURNING {RETURNED}
"""
STATEMENTS = {"postgresql": POSTGRESQL, "sqlite": SQLITE}
