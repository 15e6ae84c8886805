"""Roll-ups: what has become of jobs, added up from the ledger. Only these are written here.

Each write replaces a figure by a higher one: to make it twice, or on two hosts at once, changes
nothing, and a host that is slow cannot take back what a faster one has counted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any

from django.db.models import Case, Count, IntegerField, Max, Q, Sum, Value, When

from ..core.options import stored_backends
from ..ledger.connection import retried
from ..ledger.times import MinuteOf, Now, SecondsBetween, after
from ..models import Job, RollUp
from .histogram import BOUNDS, CLASSES, added
from .queries import DUE

# Spans in minutes, and for how many days each is kept.
RETENTION_DAYS = {1: 0.25, 10: 3.0, 60: 35.0}
KEY_FIELDS = ("minute", "backend", "queue", "task")
COUNTS = ("jobs", "succeeded", "failed", "cancelled", "wait_seconds", "run_seconds")


@retried
def add_up_ended(minutes: int, using: str) -> int:
    """Count the jobs that ended in the last `minutes`; how many roll-ups were written.

    A minute is counted again whenever the ledger has more of it: a settlement that commits late
    bears the time at which it was made.
    """
    ended = _ended(minutes, using).values_list("minute")
    found = list(ended.annotate(number=Count("pk"), now=Max(MinuteOf(Now()))))
    if not found:
        return 0
    now = found[0][2]
    # The first of these minutes is cut through.
    actual = {minute: number for minute, number, _ in found if minute > now - minutes}
    behind = _behind(1, actual, using)
    rows: dict[Any, RollUp] = {}
    for cell in _cells(now - min(behind), using) if behind else ():
        key, rest = cell[: len(KEY_FIELDS)], cell[len(KEY_FIELDS) :]
        if key[0] in behind:
            _add_cell(rows.setdefault(key, empty(1, key)), rest)
    return _write(rows.values(), using)


@retried
def add_up_minutes(span: int, minutes: int, using: str) -> int:
    """Add the minutes up to blocks of `span` where these lack some; how many were written."""
    last = RollUp.objects.using(using).filter(span=1).aggregate(last=Max("minute"))["last"]
    if last is None:
        return 0
    first = (last - minutes) // span * span
    small = RollUp.objects.using(using).filter(span=1, minute__gte=first)
    totals: dict[int, int] = defaultdict(int)
    for minute, jobs in small.values_list("minute").annotate(total=Sum("jobs")).order_by():
        totals[minute // span * span] += jobs
    behind = _behind(span, totals, using)
    parts: dict[Any, list[RollUp]] = defaultdict(list)
    for row in small.filter(minute__gte=min(behind)) if behind else ():
        start = row.minute // span * span
        if start in behind:
            parts[start, row.backend, row.queue, row.task].append(row)
    return _write([summed(empty(span, key), rows) for key, rows in parts.items()], using)


def rolled_up(backend: str, span: int, first: int, using: str, **only: str) -> list[Any]:
    """(minute, succeeded, failed, cancelled, waits, runs) from minute `first` on.

    only: those of this `queue` or this `task`.
    """
    rows = RollUp.objects.using(using).filter(backend__in=stored_backends(backend))
    rows = rows.filter(span=span, minute__gte=first, **only)
    names = ("minute", "succeeded", "failed", "cancelled", "waits", "runs")
    return list(rows.order_by().values_list(*names))


@retried
def prune_rollups(using: str, counted: int) -> int:
    """Delete the roll-ups that no chart shows any more; minutes from `counted` on are needed."""
    last = RollUp.objects.using(using).aggregate(last=Max("minute"))["last"] or 0
    old = Q(pk__in=())
    for span, days in RETENTION_DAYS.items():
        first = last - days * 24 * 60
        old |= Q(span=span, minute__lt=min(first, counted) if span == 1 else first)
    rows = RollUp.objects.using(using).filter(old)
    ids = list(rows.values_list("pk", flat=True)[:1000])
    return rows.filter(pk__in=ids)._raw_delete(using) if ids else 0


def _ended(minutes: int, using: str) -> Any:
    rows = Job.objects.using(using).filter(finished_at__gte=after(timedelta(minutes=-minutes - 1)))
    return rows.order_by().annotate(minute=MinuteOf("finished_at"))


def _behind(span: int, actual: Mapping[int, int], using: str) -> set[int]:
    """The blocks of which less is counted than there actually is."""
    rows = RollUp.objects.using(using).filter(span=span, minute__gte=min(actual, default=0))
    counted = dict(rows.values_list("minute").annotate(total=Sum("jobs")).order_by())
    return {minute for minute, number in actual.items() if number > counted.get(minute, 0)}


def _cells(minutes: int, using: str) -> Any:
    """How many jobs ended in the same minute and way after about the same time, each cell once."""
    # One that a person has run again has no time from which it waited.
    waited = Case(
        When(Q(attempt__lte=1) | Q(run_after__isnull=False), then=SecondsBetween(DUE, "started_at"))
    )
    rows = _ended(minutes, using).annotate(
        wait=waited, run=SecondsBetween("started_at", "finished_at")
    )
    rows = rows.annotate(wait_class=_class_of("wait"), run_class=_class_of("run"))
    cells = rows.values_list(*KEY_FIELDS, "state", "wait_class", "run_class")
    return cells.annotate(number=Count("pk"), waited=Sum("wait"), ran=Sum("run"))


def _class_of(name: str) -> Case:
    """The place of these seconds in a histogram; NULL for no time at all."""
    nothing = When(**{f"{name}__isnull": True}, then=Value(None))
    below = (When(**{f"{name}__lte": bound}, then=Value(i)) for i, bound in enumerate(BOUNDS))
    return Case(nothing, *below, default=Value(CLASSES - 1), output_field=IntegerField())


def _add_cell(row: RollUp, cell: Sequence[Any]) -> None:
    state, wait_class, run_class, number, waited, ran = cell
    row.jobs += number
    setattr(row, state, getattr(row, state) + number)
    row.wait_seconds += waited or 0
    row.run_seconds += ran or 0
    if wait_class is not None:
        row.waits[wait_class] += number
    if run_class is not None:
        row.runs[run_class] += number


def summed(row: RollUp, parts: Sequence[RollUp]) -> RollUp:
    """The row, with the sum of these figures; it may be one of them."""
    for name in COUNTS:
        setattr(row, name, sum(getattr(part, name) for part in parts))
    row.waits, row.runs = added(p.waits for p in parts), added(p.runs for p in parts)
    return row


def empty(span: int, key: Sequence[Any]) -> RollUp:
    """A roll-up of nothing. key: minute, backend, queue and task."""
    row = RollUp(span=span, waits=[0] * CLASSES, runs=[0] * CLASSES)
    for name, value in (*zip(KEY_FIELDS, key, strict=True), *((name, 0) for name in COUNTS)):
        setattr(row, name, value)
    return row


def _write(rows: Collection[RollUp], using: str) -> int:
    """Insert those that are missing, replace those that lag; how many. All are of one span."""
    known = _known(rows, using)
    # All hosts in one order, or two would wait for each other.
    rows = sorted(rows, key=_key)
    missing = [row for row in rows if _key(row) not in known]
    # Where another host was faster its figure stands, and is compared again next time.
    RollUp.objects.using(using).bulk_create(missing, batch_size=500, ignore_conflicts=True)
    lagging = [row for row in rows if known.get(_key(row), row.jobs) < row.jobs]
    return len(missing) + sum(_replace(row, using) for row in lagging)


def _known(rows: Collection[RollUp], using: str) -> dict[Any, int]:
    """How many jobs each figure of these minutes counts so far."""
    if not rows:
        return {}
    span, minutes = next(iter(rows)).span, {row.minute for row in rows}
    found = RollUp.objects.using(using).filter(span=span, minute__in=minutes)
    return {_key(row): row.jobs for row in found.only(*KEY_FIELDS, "jobs")}


def _replace(row: RollUp, using: str) -> int:
    place = dict(zip(KEY_FIELDS, _key(row), strict=True))
    values = {name: getattr(row, name) for name in (*COUNTS, "waits", "runs")}
    lower = RollUp.objects.using(using).filter(span=row.span, **place, jobs__lt=row.jobs)
    return lower.update(**values)


def _key(row: RollUp) -> tuple[Any, ...]:
    return tuple(getattr(row, name) for name in KEY_FIELDS)
