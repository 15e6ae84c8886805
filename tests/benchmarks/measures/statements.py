"""The ledger's statements one by one, in the database's own form and in the portable one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from django_bgtasks.core import clock
from django_bgtasks.jobs.enqueue import build
from django_bgtasks.ledger import statements as hot
from django_bgtasks.ledger.identity import ledger_database
from django_bgtasks.ledger.lifecycle import claim_many, insert, insert_calls, settle_many
from django_bgtasks.models import Job
from tests.app.tasks import add

from .tools import Figures

ALONE, GROUP, GROUPS = 300, 100, 10


def statements(directory: Path) -> Figures:
    """Microseconds a job, each statement with its own commit."""
    own = {f"own, {name}": value for name, value in _all().items()}
    with _portable():
        return own | {f"portable, {name}": value for name, value in _all().items()}


def _all() -> Figures:
    Job.objects.all().delete()
    alias, worker = ledger_database(), uuid4()
    figures: Figures = {}
    jobs = [build(add, (number, 1), {}) for number in range(ALONE)]
    figures["insert µs"] = _each(jobs, 1, lambda part: insert(part[0], alias))
    _claim_and_settle([job.pk for job in jobs], 1, worker, figures)
    calls: list[Any] = [(clock.new_id(), [number, 1], {}) for number in range(GROUP * GROUPS)]
    first = build(add, (1, 1), {})
    figures[f"insert of {GROUP} µs"] = _each(
        calls, GROUP, lambda part: insert_calls(first, part, alias)
    )
    _claim_and_settle([call[0] for call in calls], GROUP, worker, figures)
    return figures


def _claim_and_settle(ids: list[UUID], size: int, worker: UUID, figures: Figures) -> None:
    alias, of = ledger_database(), "" if size == 1 else f" of {size}"
    claimed: list[Job] = []
    figures[f"claim{of} µs"] = _each(
        ids, size, lambda part: claimed.extend(claim_many(part, worker, alias))
    )
    figures[f"settlement{of} µs"] = _each(
        claimed, size, lambda part: settle_many([(job, None) for job in part], alias)
    )


def _each(items: list[Any], size: int, act: Callable[[Any], Any]) -> float:
    """Microseconds an item of act() on so many at a time."""
    start = time.perf_counter()
    for place in range(0, len(items), size):
        act(items[place : place + size])
    return (time.perf_counter() - start) / len(items) * 1e6


@contextmanager
def _portable() -> Iterator[None]:
    dialects, hot.DIALECTS = hot.DIALECTS, {}
    try:
        yield
    finally:
        hot.DIALECTS = dialects
