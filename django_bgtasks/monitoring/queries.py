"""How the ledger stands just now: what waits, what runs, what ended and went wrong last.

Each question is one statement that an index answers, whatever the size of the table of jobs.
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.db import models
from django.db.models import Count, F, Min, Q, Sum
from django.db.models.functions import Coalesce, Greatest

from ..core.options import known_backends, stored_backends
from ..core.states import State
from ..ledger.times import MinuteOf, Now, SecondsBetween, after
from ..ledger.workers import has_live_worker, orphaned_jobs
from ..models import Job, RollUp

DUE = Greatest(Coalesce("run_after", "enqueued_at"), "enqueued_at")
# Partial indexes know one state each. A blocked job has had no attempt.
UNBLOCKED = Q(state=State.QUEUED) | Q(state=State.SCHEDULED)


class Depth(NamedTuple):
    """How many jobs are in a state, the seconds since the first was due, and how many are held."""

    number: int = 0
    oldest: float = 0.0
    held: int = 0


def depths(state: State, using: str) -> dict[tuple[str, str], Depth]:
    """Those in this state, for each pair of backend and queue, the backend as rows name it."""
    rows = Job.objects.using(using).filter(state=state).order_by().values("backend", "queue")
    found = rows.annotate(
        number=Count("pk"),
        oldest=SecondsBetween(Min(DUE), Now()),
        held=Count("pk", filter=~Q(held_reason="")),
    )
    return {
        (row["backend"], row["queue"]): Depth(
            row["number"], max(0.0, row["oldest"] or 0.0), row["held"]
        )
        for row in found
    }


def running_jobs(backend: str, limit: int, using: str) -> list[Any]:
    """The jobs that run, those that have run longest first, each with the `seconds` of that."""
    rows: Any = _in_state(State.RUNNING, backend, using).annotate(
        seconds=SecondsBetween("started_at", Now())
    )
    rows = rows.only(
        "id", "task", "label", "queue", "attempt", "max_attempts", "worker", "progress_done"
    )
    return list(rows.order_by("started_at")[:limit])


def ended_lately(backend: str, minutes: int, using: str) -> dict[str, dict[str, int]]:
    """For each queue what has ended in the last `minutes`, as far as it is added up."""
    rows = RollUp.objects.using(using).filter(span=1, backend__in=stored_backends(backend))
    rows = rows.filter(minute__gt=MinuteOf(Now()) - minutes).order_by()
    found = rows.values("queue").annotate(ended=Sum("jobs"), failures=Sum("failed"))
    return {row["queue"]: {"ended": row["ended"], "failed": row["failures"]} for row in found}


def queues_of_the_day(backend: str, using: str) -> set[str]:
    """The queues in which something has ended since yesterday, as far as it is added up."""
    rows = RollUp.objects.using(using).filter(span=60, backend__in=stored_backends(backend))
    rows = rows.filter(minute__gt=MinuteOf(Now()) - 24 * 60).order_by()
    return set(rows.values_list("queue", flat=True).distinct())


def busy_queues(backend: str, using: str) -> dict[UUID, list[str]]:
    """For each worker that runs jobs the queues of these."""
    found: dict[UUID, list[str]] = {}
    rows = _in_state(State.RUNNING, backend, using)
    for worker, queue in rows.values_list("worker", "queue").distinct():
        if worker is not None:
            found.setdefault(worker, []).append(queue)
    return found


def is_held() -> Q:
    """Jobs that wait for what keeps them from running, and those of backends that TASKS does not
    have.
    """
    return UNBLOCKED & (~Q(backend__in=known_backends()) | ~Q(held_reason=""))


def held_jobs(backend: str, using: str) -> Counter[str]:
    """How many jobs of each task wait for what keeps them from running."""
    counts: Counter[str] = Counter()
    for state in (State.QUEUED, State.SCHEDULED):
        rows = _in_state(state, backend, using).exclude(held_reason="")
        counts.update(dict(rows.values_list("task").annotate(Count("pk"))))
    return counts


def held_job(task: str, backend: str, using: str) -> Job | None:
    """The newest of these jobs of a task."""
    rows = Job.objects.using(using).filter(
        UNBLOCKED, task=task, backend__in=stored_backends(backend)
    )
    rows = rows.exclude(held_reason="").order_by("-pk")
    return rows.only("held_reason", "error_params", "error").first()


def overdue(late: float, backend: str, using: str) -> tuple[int, float]:
    """How many scheduled jobs should have been queued `late` seconds ago, and the longest delay."""
    rows = _in_state(State.SCHEDULED, backend, using)
    rows = rows.filter(run_after__lt=after(timedelta(seconds=-late)))
    found = rows.aggregate(number=Count("pk"), first=SecondsBetween(Min("run_after"), Now()))
    return found["number"], found["first"] or 0.0


def overrun_count(late: float, backend: str, using: str) -> int:
    """How many jobs run on a live worker though their timeout has been over for `late` seconds."""
    rows = _in_state(State.RUNNING, backend, using).filter(has_live_worker())
    rows = rows.annotate(seconds=SecondsBetween("started_at", Now()))
    return rows.filter(seconds__gt=F("timeout") + late).count()


def orphan_count(backend: str, using: str) -> int:
    """How many jobs run for a worker that has stopped or is gone, and wait to be rescued."""
    return orphaned_jobs(using).filter(backend__in=stored_backends(backend)).order_by().count()


def _in_state(state: State, backend: str, using: str) -> models.QuerySet[Job]:
    """The jobs of a backend in one state: partial indexes know one state each."""
    rows = Job.objects.using(using).filter(state=state, backend__in=stored_backends(backend))
    return rows.order_by()
