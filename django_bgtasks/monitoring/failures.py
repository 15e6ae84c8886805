"""What has failed lately: attempts that are alike, and what has become of their jobs.

The database groups them. A window of time is one range of an index, and is told with the figures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import Case, CharField, Count, F, Max, Min, Q, QuerySet, Sum, When

from ..core.options import stored_backends
from ..core.states import WAITING, State
from ..ledger.times import MinuteOf, Now, after
from ..models import Attempt, AttemptOutcome, Job, RollUp
from .health import seconds_since
from .rollups import RETENTION_DAYS

SINCE, SINCE_NAME = timedelta(hours=24), "day"
# Where more attempts have failed the window is as long as the newest of them took.
MOST_ATTEMPTS = 100_000
MOST_GROUPS = 50
# So many roll-ups at least are a window's.
SHARE = 24
# The class of the exception, or the code of a failure that nobody raised.
ERROR = Case(
    When(exception_class="", then=F("code")),
    default=F("exception_class"),
    output_field=CharField(),
)
# The attempt that tells how its job stands: another one has not ended since.
IS_LAST = Q(attempt=F("job__attempt"))


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Attempts of a task that failed alike. seconds: since the newest, which `job` has.

    error: the class of the exception, or the error code. outcome: of the newest. queue: empty if
    they are of several. failed: how many of their jobs have failed for good, by this error.
    retrying: how many wait for another attempt.
    """

    task: str
    error: str
    count: int
    failed: int
    retrying: int
    seconds: float
    job: str
    outcome: str
    queue: str = ""
    message: str = ""
    code: str = ""
    params: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class FailureWindow:
    """The failures of the last `seconds`, the kinds with the most failed jobs first.

    period: the same as a filter of the job list. more: how many kinds are left out. failed: jobs
    that failed in this time and still are. ended: all jobs that ended in it.
    """

    seconds: float = SINCE.total_seconds()
    period: str = SINCE_NAME
    groups: tuple[FailureGroup, ...] = ()
    more: int = 0
    failed: int = 0
    ended: int = 0


def take_failures(backend: str, using: str, **only: str) -> FailureWindow:
    """The failures of a backend; only: of this `queue` or this `task`."""
    start, seconds, period = _window(using)
    kinds = _kinds(start, backend, using, only)
    newest = _newest([kind["newest"] for kind in kinds[:MOST_GROUPS]], using)
    found = [_group(kind, newest[kind["newest"]]) for kind in kinds if kind["newest"] in newest]
    return FailureWindow(
        seconds,
        period,
        tuple(found),
        len(kinds[MOST_GROUPS:]),
        _failed_jobs(start, backend, using, only),
        _ended(seconds, backend, using, only),
    )


def _window(using: str) -> tuple[Any, float, str]:
    """Its start, how long it is in seconds, and the same as a filter of the job list."""
    rows: Any = Attempt.objects.using(using).order_by("-finished_at")
    rows = rows.annotate(seconds=seconds_since("finished_at"))
    found = rows.values_list("finished_at", "seconds")[MOST_ATTEMPTS : MOST_ATTEMPTS + 1]
    for start, seconds in found:
        if seconds < SINCE.total_seconds():
            return start, seconds, f"{start.isoformat()}.."
    return after(-SINCE), SINCE.total_seconds(), SINCE_NAME


def _kinds(start: Any, backend: str, using: str, only: Mapping[str, str]) -> list[dict[str, Any]]:
    rows = Attempt.objects.using(using).filter(
        finished_at__gte=start,
        job__backend__in=stored_backends(backend),
        **{f"job__{name}": value for name, value in only.items()},
    )
    rows = rows.exclude(outcome=AttemptOutcome.CANCELLED).order_by()
    kinds: Any = rows.values("job__task", error=ERROR).annotate(
        count=Count("pk"),
        newest=Max("pk"),
        failed=Count("pk", filter=IS_LAST & Q(job__state=State.FAILED)),
        retrying=Count("pk", filter=IS_LAST & Q(job__state__in=sorted(WAITING))),
        first_queue=Min("job__queue"),
        last_queue=Max("job__queue"),
    )
    return sorted(kinds, key=lambda kind: (-kind["failed"], -kind["count"], -kind["newest"]))


def _newest(ids: list[int], using: str) -> dict[int, Any]:
    """The attempts with these ids; one that was pruned meanwhile is not among them."""
    rows: Any = Attempt.objects.using(using).filter(pk__in=ids)
    rows = rows.annotate(seconds=seconds_since("finished_at")).defer("traceback")
    return {attempt.pk: attempt for attempt in rows}


def _group(kind: dict[str, Any], newest: Any) -> FailureGroup:
    return FailureGroup(
        task=kind["job__task"],
        error=kind["error"],
        count=kind["count"],
        failed=kind["failed"],
        retrying=kind["retrying"],
        seconds=max(0.0, newest.seconds),
        job=str(newest.job_id),
        outcome=newest.outcome,
        queue=kind["first_queue"] if kind["first_queue"] == kind["last_queue"] else "",
        message=newest.message,
        code=newest.code,
        params=newest.params,
    )


def _failed_jobs(start: Any, backend: str, using: str, only: Mapping[str, str]) -> int:
    rows: QuerySet[Job] = Job.objects.using(using).filter(
        state=State.FAILED,
        finished_at__gte=start,
        backend__in=stored_backends(backend),
        **only,
    )
    return rows.order_by().count()


def _ended(seconds: float, backend: str, using: str, only: Mapping[str, str]) -> int:
    """As far as it is added up; a roll-up that the window cuts through counts as a whole."""
    minutes = math.ceil(seconds / 60)
    # The longest of which one more is but a small share of the window.
    span = max(
        (span for span in RETENTION_DAYS if span * SHARE <= minutes), default=min(RETENTION_DAYS)
    )
    rows = RollUp.objects.using(using).filter(
        span=span,
        minute__gt=MinuteOf(Now()) - minutes - span,
        backend__in=stored_backends(backend),
        **only,
    )
    return rows.aggregate(jobs=Sum("jobs"))["jobs"] or 0
