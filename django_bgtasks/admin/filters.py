"""The filters and the search of the job list, as Django's filters and as querysets.

None of them scans the table to find its choices. A background job applies an action to "all that
match" by the same querysets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from ..core import clock
from ..core.options import entries, known_backends, stored_backends
from ..core.states import State
from ..jobs.task import queues_of
from ..ledger.times import Now, SecondsBetween, after
from ..ledger.workers import has_live_worker
from ..models import Attempt, Job

RECENT = 1000
# A minute more than maintenance needs to rescue, to stop or to promote a job.
GRACE = timedelta(seconds=60)
AGES = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=30),
}

PERIODS = {"1h": timedelta(hours=1), "24h": timedelta(days=1), "7d": timedelta(days=7)}

Jobs = QuerySet[Any]
# Partial indexes know one state each. A blocked job has had no attempt.
UNBLOCKED = Q(state=State.QUEUED) | Q(state=State.SCHEDULED)


class JobListFilter(admin.SimpleListFilter):
    """A filter that means the same in the list and in a background job."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Job]) -> QuerySet[Job]:
        return filtered(queryset, {str(self.parameter_name): self.value() or ""})


class StateFilter(JobListFilter):
    """By state, or by what several states share: jobs that are tried again, held or stuck."""

    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Every state, whether there are such jobs or not."""
        choices: list[tuple[str, Any]] = list(State.choices)
        after_queued = 1 + State.values.index(State.QUEUED)
        choices[after_queued:after_queued] = [("retrying", _("Retrying")), ("held", _("Held"))]
        return [*choices, ("stuck", _("Stuck"))]


class QueueFilter(JobListFilter):
    """By queue: those of the settings and of the tasks."""

    title = _("queue")
    parameter_name = "queue"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The queues that a job could be put into."""
        names = {queue for backend in entries() for queue in queues_of(backend)}
        return _choices(names, self.used_parameters.get(self.parameter_name))


class TaskFilter(JobListFilter):
    """By task: those of the most recent jobs."""

    title = _("task")
    parameter_name = "task"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The tasks of the last RECENT jobs; the search finds the jobs of any task."""
        recent = model_admin.get_queryset(request).order_by("-pk").values_list("task", flat=True)
        return _choices(set(recent[:RECENT]), self.used_parameters.get(self.parameter_name))


class AgeFilter(JobListFilter):
    """By the time of the call."""

    title = _("time of the call")
    parameter_name = "age"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [
            ("hour", _("Last hour")),
            ("day", _("Last 24 hours")),
            ("week", _("Last 7 days")),
            ("month", _("Last 30 days")),
            ("older", _("Older")),
        ]


class ErrorFilter(JobListFilter):
    """By the error of the last attempt."""

    title = _("error")
    parameter_name = "error"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return _choices(set(), self.used_parameters.get(self.parameter_name))


class FinishedFilter(JobListFilter):
    """By the time of the end."""

    title = _("time of the end")
    parameter_name = "finished"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [
            ("1h", _("Last hour")), ("24h", _("Last 24 hours")), ("7d", _("Last 7 days")),
        ]  # fmt: skip


def _choices(names: set[str], current: str | None) -> list[tuple[str, str]]:
    return [(name, name) for name in sorted(names | ({current} if current else set()))]


def filtered(rows: Jobs, query: Mapping[str, str]) -> Jobs:
    """The jobs that the filters and the search (`q`) of this query string leave."""
    for name, apply in FILTERS.items():
        if value := query.get(name, "").strip():
            # No text of PostgreSQL's has a NUL, and it refuses to look for one.
            rows = rows.none() if "\0" in value else apply(rows, value)
    return rows


def by_state(rows: Jobs, value: str) -> Jobs:
    """One state, or what several share: retrying, held, stuck."""
    special = {"retrying": _retrying, "held": _held, "stuck": _stuck}
    found: Jobs = special[value](rows) if value in special else rows.filter(state=value)
    return found


def by_age(rows: Jobs, value: str) -> Jobs:
    """Enqueued within the last hour, day, week or month, or before that month."""
    if value == "older":
        return rows.filter(pk__lt=clock.id_floor(clock.now() - AGES["month"]))
    # An id holds the time it was made at, so that the primary key answers.
    return rows.filter(pk__gte=clock.id_floor(clock.now() - AGES[value])) if value in AGES else rows


def by_search(rows: Jobs, value: str) -> Jobs:
    """An id of a job or a batch; else a dedup key or an owner's name; else a part of a task's name.

    A whole key or name is looked up in its index; only what is neither is sought in every row.
    """
    try:
        ident = UUID(value)
    except ValueError:
        exact = Q(dedup_key=value)
        if owners := _owners(value):
            exact |= Q(owner__in=owners)
        known = rows.model._base_manager.filter(exact)
        return rows.filter(exact) if known.exists() else rows.filter(task__icontains=value)
    return rows.filter(Q(pk=ident) | Q(batch=ident))


def _owners(name: str) -> list[Any]:
    user: Any = get_user_model()
    found = user._default_manager.filter(**{user.USERNAME_FIELD: name})
    return list(found.values_list("pk", flat=True)[:10])


def _retrying(rows: Jobs) -> Jobs:
    return rows.filter(UNBLOCKED, attempt__gt=0, held_reason="")


def _held(rows: Jobs) -> Jobs:
    """Jobs whose task could not be found, and those of backends that TASKS does not have."""
    unknown = ~Q(backend__in=known_backends())
    return rows.filter(UNBLOCKED, unknown | ~Q(held_reason=""))


def _stuck(rows: Jobs) -> Jobs:
    """What maintenance should have dealt with: jobs without a worker, too long, or overdue."""
    seconds = SecondsBetween("started_at", Now())
    too_long = Q(bgtasks_seconds__gt=F("timeout") + GRACE.total_seconds())
    timed: Jobs = rows.alias(bgtasks_seconds=seconds)
    return timed.filter(
        Q(~has_live_worker() | too_long, state=State.RUNNING)
        | Q(state=State.SCHEDULED, run_after__lt=after(-GRACE))
    )


def by_error(rows: Jobs, value: str) -> Jobs:
    """Those whose last attempt failed by this class of exception, or with this error code."""
    last = Attempt.objects.filter(job=OuterRef("pk"), attempt=OuterRef("attempt"))
    alike = Q(exception_class=value) | Q(exception_class="", code=value)
    return rows.filter(Exists(last.filter(alike)))


def by_finished(rows: Jobs, value: str) -> Jobs:
    """Those that ended in the last 1h, 24h or 7d, or between two times: `FROM..TO`."""
    if value in PERIODS:
        return rows.filter(finished_at__gte=after(-PERIODS[value]))
    try:
        start, end = map(datetime.fromisoformat, value.split(".."))
    except ValueError:
        return rows.none()
    return rows.filter(finished_at__range=(start, end))


FILTERS: dict[str, Callable[[Jobs, str], Jobs]] = {
    "state": by_state,
    "queue": lambda rows, value: rows.filter(queue=value),
    "task": lambda rows, value: rows.filter(task=value),
    "age": by_age,
    "error": by_error,
    "finished": by_finished,
    "backend": lambda rows, value: rows.filter(backend__in=stored_backends(value)),
    "q": by_search,
}
