"""Totals that only grow: what monitoring counts with. Roll-ups are forgotten, these are not.

A total is a roll-up of span 0. The watermark is another one, without a backend: its `jobs` is the
minute before which all are in the totals. Who moves it adds what it has passed, in the same
transaction; to move it from where it is succeeds on one host only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from ..core.faultpoints import fault_point
from ..core.options import stored_backends
from ..ledger.connection import retried
from ..ledger.returning import skipping_locked
from ..ledger.times import MinuteOf, Now
from ..models import RollUp
from .rollups import empty, summed

TOTAL = 0
# Longer than settlements come late, shorter than minutes are kept.
FINISHED_AFTER = 90
MARK = {"span": TOTAL, "minute": 0, "backend": "", "queue": "", "task": ""}
# What fits into a column on every database; a counter that begins again is known to monitoring.
LARGEST = 2**31 - 1


@retried
def advance(using: str) -> int:
    """Add the finished minutes to the totals. Returns how many totals grew; safe on many hosts."""
    mark = _marks(using).annotate(now=MinuteOf(Now())).values_list("jobs", "now")
    if (found := mark.first()) is None:
        rows = [empty(TOTAL, (0, "", "", ""))]
        RollUp.objects.using(using).bulk_create(rows, ignore_conflicts=True)
        found = mark.first()
    if found is None or found[1] - FINISHED_AFTER <= found[0]:
        return 0
    old, new = found[0], found[1] - FINISHED_AFTER
    with transaction.atomic(using):
        # Who comes second has nothing to wait for: the first one does it, or a later run.
        unmoved = _marks(using).filter(jobs=old)
        free = list(skipping_locked(unmoved).values_list("pk", flat=True))
        if not unmoved.filter(pk__in=free).update(jobs=new):
            return 0
        return _add(RollUp.objects.using(using).filter(span=1, minute__range=(old, new - 1)), using)


def watermark(using: str) -> int:
    """The minute before which all are in the totals."""
    return _marks(using).values_list("jobs", flat=True).first() or 0


def totals(backend: str, using: str) -> list[RollUp]:
    """What has ended since the beginning, for each queue and task; the oldest pair first.

    One statement: between two of them a minute could be in both places, or in none.
    """
    mark = Coalesce(Subquery(_marks(using).values("jobs")[:1]), 0)
    rows = RollUp.objects.using(using).filter(backend__in=stored_backends(backend))
    rows = rows.filter(Q(span=TOTAL) | Q(span=1, minute__gte=mark))
    parts: dict[Any, list[RollUp]] = defaultdict(list)
    for row in rows.order_by("span", "pk"):
        parts[row.queue, row.task].append(row)
    return [summed(empty(TOTAL, (0, backend, *pair)), found) for pair, found in parts.items()]


def _marks(using: str) -> QuerySet[RollUp]:
    return RollUp.objects.using(using).filter(**MARK)


@fault_point("add up")
def _add(minutes: Iterable[RollUp], using: str) -> int:
    parts: dict[Any, list[RollUp]] = defaultdict(list)
    for row in minutes:
        parts[row.backend, row.queue, row.task].append(row)
    known = {
        (row.backend, row.queue, row.task): row
        for row in RollUp.objects.using(using).filter(span=TOTAL).exclude(backend="")
    }
    for key in sorted(parts):
        total = known.get(key) or empty(TOTAL, (0, *key))
        if total.jobs + sum(part.jobs for part in parts[key]) > LARGEST:
            summed(total, parts[key])
        else:
            summed(total, [total, *parts[key]])
        total.save(using=using)
    return len(parts)
