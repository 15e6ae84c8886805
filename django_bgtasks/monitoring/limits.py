"""How limits and sequences stand: who holds their places, who waits, and for how long.

Each question is few statements, and each of these reads a bounded number of rows on PostgreSQL and
SQLite, whatever waits: lanes are found by steps through an index, and those that wait in one are
counted up to COUNTED.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connections
from django.db.models import Case, CharField, Count, F, Max, Min, Q, QuerySet, Value, When
from django.db.models.functions import Concat, Left, StrIndex

from ..core.limits import IN_ORDER, prefix_of
from ..core.states import State, WaitsFor
from ..ledger.admission import LANE, Kind
from ..ledger.lanes import LINE, keys_with_waiting
from ..ledger.times import Now, SecondsBetween
from ..models import Job, LimitOverride, QueuePause
from .queries import DUE

# So many of those that wait in a lane are counted, and so many lanes are looked at.
COUNTED, LANES = 1000, 10_000
# So many holders of a lane are named, and so many prefixes of keys.
NAMED, PREFIXES = 10, 100
# Among so many of the jobs that were enqueued first, lanes are looked for that wait long.
FIRST = 1000
TABLE = Job._meta.db_table
HOLD = "place IS NOT NULL"
IN_LINE = ", ".join(LINE)
OF_LIMITS = ("id", "lane", "lane_mode", "at_once", "rate", "starts", "per")


class Counted(NamedTuple):
    """How many they are; is_more: at least so many, for nobody has counted further."""

    number: int
    is_more: bool = False


NONE_WAIT = Counted(0)


@dataclass(frozen=True, slots=True)
class Holder:
    """A job that holds a place. seconds: since it has begun, or has failed; None before."""

    id: UUID
    place: int
    state: str
    task: str
    label: str
    seconds: float | None


@dataclass(frozen=True, slots=True)
class LaneFigures:
    """How a limit or a sequence stands.

    allowed: how many may have a place; None if nobody says so just now. changed: whether a person
    has said it of this key ("key"), of all with its prefix ("prefix"), or of neither ("").
    oldest: seconds that one has waited, of the first COUNTED in line. holder: of a sequence.
    """

    key: str
    is_sequence: bool = False
    allowed: int | None = None
    changed: str = ""
    held: int = 0
    waiting: Counted = NONE_WAIT
    oldest: float | None = None
    holder: Holder | None = None

    @property
    def is_held_by_failed(self) -> bool:
        """Whether its sequence waits until a person decides about a job that has failed."""
        return self.holder is not None and self.holder.state == State.FAILED


@dataclass(frozen=True, slots=True)
class KeysInUse:
    """The keys with jobs that hold a place or wait for one, those in which most wait first; or the
    rates that are in use.

    waiting: how many wait, of each key. is_more: whether there are others.
    """

    keys: tuple[str, ...]
    waiting: Mapping[str, Counted]
    is_more: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """How a job stands at its limit or in its sequence.

    place: its own, or None. before: how many wait before it; if it holds a place or is final, how
    many wait at all. holders: the first NAMED of `held`. is_paused: its queue is, so that it gets
    no place.
    """

    key: str
    is_sequence: bool
    allowed: int | None
    place: int | None
    held: int
    holders: tuple[Holder, ...]
    before: Counted
    is_paused: bool = False


@dataclass(frozen=True, slots=True)
class PrefixTotals:
    """All lanes with one prefix: "" of keys that begin with a colon, and None for all beyond the
    first PREFIXES, the fullest first.

    oldest: the seconds since the first of those that wait could have run.
    """

    prefix: str | None
    held: int = 0
    waiting: int = 0
    oldest: float = 0.0


def find_lanes(using: str, search: str = "") -> KeysInUse:
    """The lanes whose keys contain this text, small letters being as capitals."""

    def walk(after: str) -> tuple[dict[str, int], dict[str, int]]:
        return walk_waiting(LANE, after, using), _walk("lane", HOLD, after, using)

    return keys_in_use(walk, search)


def keys_in_use(
    walk: Callable[[str], tuple[dict[str, int], Mapping[str, int]]], search: str
) -> KeysInUse:
    """Those keys that contain a text, small letters being as capitals.

    walk: gives, from a key on, those for which jobs wait, and others, LANES of each at most.
    """
    waiting, others = walk("")
    is_more = max(len(waiting), len(others)) >= LANES
    if is_more and search:
        # Beyond those that are looked at: the key itself, and what begins with it.
        later, later_others = walk(search)
        waiting, others = {**waiting, **later}, {**others, **later_others}
    term = search.casefold()
    keys = [key for key in {**waiting, **others} if term in key.casefold()]
    keys.sort(key=lambda key: (-waiting.get(key, 0), key))
    return KeysInUse(tuple(keys), {key: counted(waiting.get(key, 0)) for key in keys}, is_more)


def lane_figures(keys: Sequence[str], using: str) -> list[LaneFigures]:
    """Of each of these lanes how it stands now, in this order. Four statements."""
    if not keys:
        return []
    waiting = waiting_of(LANE, keys, using)
    heads = rows_of({pk for lane in waiting.values() for pk in lane[1:] if pk}, using)
    holders = Job.objects.using(using).filter(lane__in=keys, place__isnull=False).order_by()
    held: dict[str | None, Any] = {
        row["lane"]: row
        for row in holders.values("lane").annotate(
            number=Count("pk"),
            most=Max("at_once"),
            in_order=Count("pk", filter=Q(lane_mode__in=sorted(IN_ORDER))),
        )
    }
    of_sequences = [key for key in keys if key in held and held[key]["in_order"]]
    holder = {
        row.lane: _holder(row)
        for row in (_holders(of_sequences, using) if of_sequences else ())
        if row.lane_mode in IN_ORDER
    }
    changed = overrides_of(keys, using)
    found = []
    for key in keys:
        number, head_id, oldest_id = waiting.get(key, (0, None, None))
        head, oldest, has = heads.get(head_id), heads.get(oldest_id), held.get(key)
        is_sequence = head.lane_mode in IN_ORDER if head else bool(has and has["in_order"])
        at_once = head.at_once if head else has["most"] if has else None
        allowed, by = allowed_now(key, at_once, is_sequence, changed)
        found.append(
            LaneFigures(
                key, is_sequence, allowed, by, has["number"] if has else 0, counted(number),
                max(0.0, oldest.seconds or 0.0) if oldest else None,
                holder.get(key) if is_sequence else None,
            )
        )  # fmt: skip
    return found


def longest_waits(limit: int, using: str) -> list[LaneFigures]:
    """The lanes in which somebody waits longest; one statement where nobody waits."""
    return lane_figures(longest_keys(LANE, limit, using), using)


def are_waited_for(kinds: Sequence[Kind], using: str) -> list[bool]:
    """Whether somebody waits for each of these kinds of numbers. One statement."""
    looks = (f"EXISTS (SELECT 1 FROM {TABLE} WHERE {_waits(kind)})" for kind in kinds)
    with connections[using].cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(looks)}")
        return [bool(found) for found in cursor.fetchone()]


def longest_keys(kind: Kind, limit: int, using: str) -> list[str]:
    """The keys for which somebody waits longest; one statement where nobody waits.

    They are looked for among the FIRST that were enqueued of all that wait. If these are of few
    keys, some other keys are looked at, too.
    """
    rows: Any = Job.objects.using(using).filter(state=State.BLOCKED, waits_for=kind.waits_for)
    rows = rows.annotate(seconds=SecondsBetween(DUE, Now())).order_by("pk")
    first = list(rows.values_list(kind.key, "seconds")[:FIRST])
    longest: dict[str, float] = {}
    if len(first) == FIRST and len({key for key, _seconds in first}) < limit:
        first += _heads(kind, keys_with_waiting(kind, "", FIRST, using), using)
    for key, seconds in first:
        longest[key] = max(seconds or 0.0, longest.get(key, 0.0))
    return sorted(longest, key=lambda key: -longest[key])[:limit]


def standing_of(job: Job, using: str) -> Standing | None:
    """How this job stands at its limit or in its sequence; None if it has none. Four statements."""
    if job.lane is None:
        return None
    paused = set(QueuePause.objects.using(using).values_list("backend", "queue"))
    rows = Job.objects.using(using).filter(waits_for=WaitsFor.LANE, lane=job.lane).order_by(*LINE)
    # Values, not models: it may be asked often, for 1,000 rows.
    line = rows.values_list("pk", "lane_mode", "at_once", "backend", "queue")[: COUNTED + 1]
    before, seen, head = 0, 0, None
    for pk, mode, at_once, backend, queue in line:
        gets_place = mode in IN_ORDER or (backend, queue) not in paused
        if head is None and gets_place:
            head = mode, at_once
        if pk == job.pk:
            break
        before, seen = before + gets_place, seen + 1
    holders = _holders([job.lane], using)
    mode, at_once = head or (job.lane_mode, job.at_once)
    is_sequence = mode in IN_ORDER
    is_paused = job.lane_mode not in IN_ORDER and (job.backend, job.queue) in paused
    changed = overrides_of([job.lane], using)
    allowed, _by = allowed_now(job.lane, at_once, is_sequence, changed)
    return Standing(
        job.lane, is_sequence, allowed, job.place, len(holders),
        tuple(_holder(row) for row in holders[:NAMED]),
        Counted(min(before, COUNTED), seen > COUNTED), is_paused,
    )  # fmt: skip


def prefix_totals(using: str) -> list[PrefixTotals]:
    """All that hold places and wait for them, by the prefixes of their keys. Two statements.

    They read each job that waits once: these figures are for metrics, and exact.
    """
    waiting = Job.objects.using(using).filter(waits_for=WaitsFor.LANE)
    held = Job.objects.using(using).filter(place__isnull=False)
    found = {
        row["prefix"]: PrefixTotals(row["prefix"], 0, row["number"], max(0.0, row["oldest"] or 0.0))
        for row in by_prefix(waiting, "lane").annotate(
            number=Count("pk"), oldest=SecondsBetween(Min(DUE), Now())
        )
    }
    for row in by_prefix(held, "lane").annotate(number=Count("pk")):
        known = found.get(row["prefix"]) or PrefixTotals(row["prefix"])
        found[row["prefix"]] = replace(known, held=row["number"])
    totals = sorted(found.values(), key=lambda one: (-one.waiting, -one.held, one.prefix or ""))
    return [*totals[:PREFIXES], *_summed(totals[PREFIXES:])]


def overrides_of(keys: Collection[str], using: str) -> dict[tuple[str, bool], int]:
    """What people have said of these keys and of their prefixes: by (key, whether a prefix)."""
    prefixes = {prefix_of(key) for key in keys}
    rows = LimitOverride.objects.using(using).filter(
        Q(key__in=keys, is_prefix=False) | Q(key__in=prefixes, is_prefix=True)
    )
    return {(key, bool(of)): number for key, of, number in rows.values_list(
        "key", "is_prefix", "at_once"
    )}  # fmt: skip


def allowed_now(
    key: str, at_once: int | None, is_sequence: bool, changed: Mapping[tuple[str, bool], int]
) -> tuple[int | None, str]:
    """How many may have a place, and who has said so, as LaneFigures.changed has it.

    changed: see overrides_of().
    """
    if (key, False) in changed:
        number = changed[key, False]
        return (min(1, number) if is_sequence else number), "key"
    if (prefix_of(key), True) in changed and not is_sequence:
        return changed[prefix_of(key), True], "prefix"
    return at_once, ""


def walk_waiting(kind: Kind, after: str, using: str) -> dict[str, int]:
    """The first LANES keys from this one on for which jobs wait, in order, with how many do."""
    return _walk(kind.key, _waits(kind), after, using)


def _walk(column: str, condition: str, after: str, using: str) -> dict[str, int]:
    """The first LANES keys from this one on, in order, with how many of their jobs are so."""
    step = f"SELECT MIN({column}) FROM {TABLE} WHERE {condition} AND {column}"
    statement = f"""\
WITH RECURSIVE found(name, number) AS (
    SELECT ({step} >= %s), 1
    UNION ALL
    SELECT ({step} > found.name), number + 1 FROM found WHERE name IS NOT NULL AND number < {LANES}
)
SELECT name, {_count(column, condition, using)} FROM found WHERE name IS NOT NULL"""
    with connections[using].cursor() as cursor:
        cursor.execute(statement, [after])
        return dict(cursor.fetchall())


def waiting_of(kind: Kind, keys: Sequence[str], using: str) -> dict[str, tuple[int, Any, Any]]:
    """How many wait for these keys, the first of them, and the one that waits longest."""
    line = f"FROM {TABLE} j WHERE j.{_waits(kind)} AND j.{kind.key} = found.name ORDER BY "
    longest = "COALESCE(run_after, enqueued_at)"
    oldest = f"SELECT id {line} {longest} LIMIT 1"
    if _can_cap(using):
        first = f"SELECT id, run_after, enqueued_at {line} {IN_LINE} LIMIT {COUNTED}"
        oldest = f"SELECT id FROM ({first}) AS first_ones ORDER BY {longest} LIMIT 1"
    each_key = " UNION ALL ".join(["SELECT %s"] * len(keys))
    statement = f"""\
WITH found(name) AS ({each_key})
SELECT name, {_count(kind.key, _waits(kind), using)}, (SELECT id {line} {IN_LINE} LIMIT 1),
    ({oldest})
FROM found"""
    with connections[using].cursor() as cursor:
        cursor.execute(statement, list(keys))
        return {
            key: (number, _uuid(first), _uuid(last))
            for key, number, first, last in cursor.fetchall()
        }


def _heads(kind: Kind, keys: Sequence[str], using: str) -> list[tuple[str, float]]:
    """The first that waits for each of these keys: since how many seconds."""
    line = f"FROM {TABLE} j WHERE j.{_waits(kind)} AND j.{kind.key} = found.name"
    head = f"SELECT id {line} ORDER BY {IN_LINE}"
    each_key = " UNION ALL ".join(["SELECT %s"] * len(keys))
    with connections[using].cursor() as cursor:
        cursor.execute(
            f"WITH found(name) AS ({each_key}) SELECT ({head} LIMIT 1) FROM found", list(keys)
        )
        ids = [pk for (value,) in cursor.fetchall() if (pk := _uuid(value)) is not None]
    return [(getattr(row, kind.key), row.seconds) for row in rows_of(ids, using).values()]


def _waits(kind: Kind) -> str:
    return f"waits_for = '{kind.waits_for}'"


def _count(column: str, condition: str, using: str) -> str:
    """How many jobs of the key are so; where that can be said, no more than one above COUNTED."""
    rows = f"FROM {TABLE} j WHERE j.{condition} AND j.{column} = found.name"
    if not _can_cap(using):
        return f"(SELECT COUNT(*) {rows})"
    return f"(SELECT COUNT(*) FROM (SELECT 1 {rows} LIMIT {COUNTED + 1}) AS counted)"


def _can_cap(using: str) -> bool:
    """MariaDB's derived tables do not see the row that they are for."""
    return connections[using].vendor in ("postgresql", "sqlite")


def rows_of(ids: Iterable[UUID], using: str) -> dict[UUID | None, Any]:
    """These jobs by their ids, with what they say of limits and rates.

    seconds: since they could have run.
    """
    rows: Any = Job.objects.using(using).filter(pk__in=list(ids))
    rows = rows.annotate(seconds=SecondsBetween(DUE, Now()))
    return {row.pk: row for row in rows.only(*OF_LIMITS)}


def _holders(keys: Sequence[str], using: str) -> list[Any]:
    """The jobs that hold the places of these lanes, at most 1,000 in a lane."""
    since = Case(
        When(state=State.RUNNING, then=F("started_at")),
        When(state=State.FAILED, then=F("finished_at")),
    )
    rows: Any = Job.objects.using(using).filter(lane__in=keys, place__isnull=False)
    rows = rows.annotate(seconds=SecondsBetween(since, Now())).order_by("lane", "place")
    return list(rows.only("id", "lane", "lane_mode", "place", "state", "task", "label"))


def _holder(row: Any) -> Holder:
    seconds = None if row.seconds is None else max(0.0, row.seconds)
    return Holder(row.pk, row.place, row.state, row.task, row.label, seconds)


def by_prefix(rows: QuerySet[Any], column: str) -> Any:
    """Grouped by what stands before the first colon of the key."""
    whole = Concat(column, Value(":"), output_field=CharField())
    prefix = Left(whole, StrIndex(whole, Value(":")) - 1)
    return rows.order_by().annotate(prefix=prefix).values("prefix")


def _summed(totals: Sequence[PrefixTotals]) -> list[PrefixTotals]:
    if not totals:
        return []
    held, waiting = sum(one.held for one in totals), sum(one.waiting for one in totals)
    return [PrefixTotals(None, held, waiting, max(one.oldest for one in totals))]


def counted(number: int) -> Counted:
    """The number, of which no more than COUNTED are counted."""
    return Counted(min(number, COUNTED), number > COUNTED)


def _uuid(value: Any) -> UUID | None:
    return value if value is None or isinstance(value, UUID) else UUID(value)
