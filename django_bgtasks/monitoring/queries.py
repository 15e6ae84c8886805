"""How the ledger stands just now: what waits, what runs, what ended and went wrong last.

Each question is one statement that an index answers, whatever the size of the table of jobs.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db import models
from django.db.models import Count, F, Min, Sum
from django.db.models.functions import Coalesce, Greatest

from ..core.options import stored_backends
from ..core.states import State
from ..ledger.times import MinuteOf, Now, SecondsBetween, after
from ..ledger.workers import orphaned_jobs
from ..models import Attempt, Job, RollUp
from .health import seconds_since

DUE = Greatest(Coalesce("run_after", "enqueued_at"), "enqueued_at")


def depths(state: State, using: str) -> dict[tuple[str, str], tuple[int, float]]:
    """How many jobs are in this state, and the seconds since the first was due: for each pair of
    backend and queue, the backend as rows name it.
    """
    rows = Job.objects.using(using).filter(state=state).order_by().values("backend", "queue")
    found = rows.annotate(number=Count("pk"), oldest=SecondsBetween(Min(DUE), Now()))
    return {
        (row["backend"], row["queue"]): (row["number"], max(0.0, row["oldest"] or 0.0))
        for row in found
    }


def running_jobs(backend: str, limit: int, using: str) -> list[Any]:
    """The jobs that run, those that have run longest first, each with the `seconds` of that."""
    rows: Any = _in_state(State.RUNNING, backend, using).annotate(
        seconds=SecondsBetween("started_at", Now())
    )
    rows = rows.only("id", "task", "queue", "attempt", "max_attempts", "worker", "progress_done")
    return list(rows.order_by("started_at")[:limit])


def ended_lately(backend: str, minutes: int, using: str) -> dict[str, dict[str, int]]:
    """For each queue what has ended in the last `minutes`, as far as it is added up."""
    rows = RollUp.objects.using(using).filter(span=1, backend__in=stored_backends(backend))
    rows = rows.filter(minute__gt=MinuteOf(Now()) - minutes).order_by()
    found = rows.values("queue").annotate(ended=Sum("jobs"), failures=Sum("failed"))
    return {row["queue"]: {"ended": row["ended"], "failed": row["failures"]} for row in found}


def failed_attempts(limit: int, using: str) -> list[Any]:
    """What went wrong in the last attempts that did not succeed, the newest first."""
    newest = Attempt.objects.using(using).order_by("-pk").values_list("pk", flat=True)
    rows: Any = Attempt.objects.using(using).filter(pk__in=list(newest[:limit]))
    rows = rows.annotate(
        task=F("job__task"),
        queue=F("job__queue"),
        backend=F("job__backend"),
        state=F("job__state"),
        seconds=seconds_since("finished_at"),
    )
    names = ("job_id", "outcome", "exception_class", "message")
    named = rows.values_list(*names, "task", "queue", "backend", "state", "seconds", named=True)
    return list(named.order_by("-pk"))


def overdue(late: float, backend: str, using: str) -> tuple[int, float]:
    """How many scheduled jobs should have been queued `late` seconds ago, and the longest delay."""
    rows = _in_state(State.SCHEDULED, backend, using)
    rows = rows.filter(run_after__lt=after(timedelta(seconds=-late)))
    found = rows.aggregate(number=Count("pk"), first=SecondsBetween(Min("run_after"), Now()))
    return found["number"], found["first"] or 0.0


def orphan_count(backend: str, using: str) -> int:
    """How many jobs run for a worker that has stopped or is gone, and wait to be rescued."""
    return orphaned_jobs(using).filter(backend__in=stored_backends(backend)).order_by().count()


def _in_state(state: State, backend: str, using: str) -> models.QuerySet[Job]:
    """The jobs of a backend in one state: partial indexes know one state each."""
    rows = Job.objects.using(using).filter(state=state, backend__in=stored_backends(backend))
    return rows.order_by()
