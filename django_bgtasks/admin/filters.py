"""The filters and the search of the job list, as Django's filters and as querysets.

None of them scans the table to find its choices (`choices.py`). A background job applies an action
to "all that match" by the same querysets.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.http import HttpRequest
from django.utils.timezone import is_aware, make_aware
from django.utils.translation import gettext_lazy as _

from ..core import clock
from ..core.formats import exact
from ..core.options import stored_backends
from ..core.states import State, WaitsFor
from ..ledger.batches import SKIP_CODES
from ..ledger.times import Now, SecondsBetween, after
from ..ledger.workers import has_live_worker
from ..models import Attempt, Batch, HistoryEntry, HistoryVerb, Job, Schedule
from ..monitoring.queries import UNBLOCKED, is_held
from ..workflows.progress import parts_of
from .choices import Offered, error_label, offered
from .search import by_search

# A minute more than maintenance needs to rescue, to stop or to promote a job.
GRACE = timedelta(seconds=60)
AGES = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=30),
}
AGE_LABELS = {
    "hour": _("Last hour"),
    "day": _("Last 24 hours"),
    "week": _("Last 7 days"),
    "month": _("Last 30 days"),
    "older": _("Older"),
}
PERIODS = ("hour", "day", "week")

Jobs = QuerySet[Any]


class JobListFilter(admin.SimpleListFilter):
    """A filter that means the same in the list and in a background job."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Job]) -> QuerySet[Job]:
        return filtered(queryset, {str(self.parameter_name): self.value() or ""})

    def choices_with_current(
        self, names: Collection[str], label: Callable[[str], Any] = str
    ) -> list[tuple[str, Any]]:
        """These, after the one that is chosen, which may be of no job any more.

        It is the first, for a list of many is scrolled.
        """
        current = self.used_parameters.get(str(self.parameter_name))
        found = [(name, label(name)) for name in {*names, *([current] if current else [])}]
        return sorted(found, key=lambda pair: (pair[0] != current, str(pair[1]).lower()))

    def current_range(self, names: Collection[tuple[str, Any]]) -> list[tuple[str, str]]:
        """The chosen value, if it is none of these: two times."""
        current = self.used_parameters.get(str(self.parameter_name))
        if not current or current in dict(names):
            return []
        start, end = time_range_of(current) or (None, None)
        text = " – ".join(exact(moment) if moment else "…" for moment in (start, end))
        return [(current, text if start or end else current)]


class StateFilter(JobListFilter):
    """By state, or by more than it: jobs that are tried again, held, expired, skipped or stuck,
    wait for a step or for a place at a limit, have one, or have failed and hold their sequence.
    """

    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Every state, whether there are such jobs or not."""
        choices: list[tuple[str, Any]] = list(State.choices)
        after_queued = 1 + State.values.index(State.QUEUED)
        choices[after_queued:after_queued] = [("retrying", _("Retrying")), ("held", _("Held"))]
        of_limits = [
            ("waits", _("Waits for a place")),
            ("step", _("Waits for a step")),
            ("place", _("Has a place")),
            ("holding", _("Failed, holds its sequence")),
        ]
        return [
            *choices,
            ("expired", _("Expired")),
            ("skipped", _("Skipped")),
            ("stuck", _("Stuck")),
            *of_limits,
        ]


class QueueFilter(JobListFilter):
    """By queue: those of the newest jobs in the chosen state."""

    title = _("queue")
    parameter_name = "queue"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return self.choices_with_current(_offered(request, model_admin).queues)


class TaskFilter(JobListFilter):
    """By task: those of the newest jobs in the chosen state."""

    title = _("task")
    parameter_name = "task"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return self.choices_with_current(_offered(request, model_admin).tasks)


class ErrorFilter(JobListFilter):
    """By the last failure: the class of its exception, or a code where there is none."""

    title = _("error")
    parameter_name = "error"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return self.choices_with_current(_offered(request, model_admin).errors, error_label)


class FinishedFilter(JobListFilter):
    """By the time of the end: within a span until now, or between two times."""

    title = _("time of the end")
    parameter_name = "finished"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        names = [(name, AGE_LABELS[name]) for name in PERIODS]
        return [*names, *self.current_range(names)]


class AgeFilter(JobListFilter):
    """By the time of the call."""

    title = _("time of the call")
    parameter_name = "age"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        names = list(AGE_LABELS.items())
        return [*names, *self.current_range(names)]


class ChangedByFilter(JobListFilter):
    """By the background job that changed them; only there while one is chosen."""

    title = _("changed by the job")
    parameter_name = "changed_by"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return self.choices_with_current(())


class ScheduleFilter(JobListFilter):
    """By the schedule that enqueued them; only there while one is chosen."""

    title = _("schedule")
    parameter_name = "schedule"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return self.choices_with_current((), _schedule_name)


class LaneFilter(JobListFilter):
    """By the key of their limit or sequence; only there while one is chosen."""

    title = _("limit or sequence")
    parameter_name = "lane"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return self.choices_with_current(())


def _schedule_name(value: str) -> str:
    try:
        row = Schedule.objects.filter(pk=UUID(value)).only("name").first()
    except ValueError:
        return value
    return row.name if row else value


class BatchFilter(JobListFilter):
    """By the workflow, or a part of one; only there while one is chosen."""

    title = _("workflow")
    parameter_name = "batch"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return self.choices_with_current((), _batch_name)


def _batch_name(value: str) -> str:
    try:
        row = Batch.objects.filter(pk=UUID(value)).only("name", "kind").first()
    except ValueError:
        return value
    return str(row) if row else value


def _offered(request: HttpRequest, model_admin: Any) -> Offered:
    rows, state = model_admin.get_queryset(request), request.GET.get("state", "")
    chosen = filtered(rows, {"state": state})
    # Without a state most jobs have no error: those that failed have.
    return offered(request, chosen, chosen if state else by_state(rows, State.FAILED))


def filtered(rows: Jobs, query: Mapping[str, str], user: Any = None) -> Jobs:
    """The jobs that the filters and the search (`q`) of this query string leave.

    user: who searches; needed with `q`.
    """
    values = {name: value for name in PARAMETERS if (value := query.get(name, "").strip())}
    if any("\0" in value for value in values.values()):
        # No text of PostgreSQL's has a NUL, and it refuses to look for one.
        return rows.none()
    for name in values.keys() & FILTERS.keys():
        rows = FILTERS[name](rows, values[name])
    return by_search(rows, values["q"], user) if "q" in values else rows


def frozen(query: Mapping[str, str]) -> dict[str, str]:
    """The same filters for later: "the last hour" is that before now."""
    known = {name: value for name, value in query.items() if name in PARAMETERS and value}
    for name in ("age", "finished"):
        value = known.get(name, "")
        if ".." not in value and (span := time_range_of(value)):
            known[name] = "..".join(moment.isoformat() if moment else "" for moment in span)
    return known


def by_state(rows: Jobs, value: str) -> Jobs:
    """One state, or what several share, or a part of one: see PARTS."""
    found: Jobs = PARTS[value](rows) if value in PARTS else rows.filter(state=value)
    return found


def by_age(rows: Jobs, value: str) -> Jobs:
    """Enqueued in a span of AGES, or between two times; none if it is neither."""
    if (span := time_range_of(value)) is None:
        return rows.none()
    start, end = span
    # An id holds the time it was made at, so that the primary key answers.
    rows = rows.filter(pk__gte=clock.id_floor(start)) if start else rows
    return rows.filter(pk__lt=clock.id_floor(end)) if end else rows


def by_finished(rows: Jobs, value: str) -> Jobs:
    """Ended in one of PERIODS, or between two times; none if it is neither."""
    if (span := time_range_of(value)) is None:
        return rows.none()
    start, end = span
    rows = rows.filter(finished_at__gte=start) if start else rows.filter(finished_at__isnull=False)
    return rows.filter(finished_at__lt=end) if end else rows


def by_error(rows: Jobs, value: str) -> Jobs:
    """Whose last failure was an exception of this class, by its dotted path, or has this code."""
    last = Attempt.objects.filter(job=OuterRef("pk"), attempt=OuterRef("attempt"))
    if "." in value:
        # No code has a dot; without the other ways a database can join the attempts.
        return rows.filter(Exists(last.filter(exception_class=value)))
    alike = Q(exception_class=value) | Q(exception_class="", code=value)
    # A job that is held has the code in its row only.
    return rows.filter(Exists(last.filter(alike)) | Q(error_code=value))


def by_changed(rows: Jobs, value: str) -> Jobs:
    """Which this background job has changed for a person."""
    try:
        entries = HistoryEntry.objects.filter(source=UUID(value)).exclude(
            verb=HistoryVerb.DUPLICATED
        )
    except ValueError:
        return rows.none()
    return rows.filter(pk__in=entries.values("job"))


def by_schedule(rows: Jobs, value: str) -> Jobs:
    """Which this schedule enqueued."""
    try:
        return rows.filter(schedule=UUID(value))
    except ValueError:
        return rows.none()


def by_batch(rows: Jobs, value: str) -> Jobs:
    """Which are of this batch, or of a part of it."""
    try:
        ident = UUID(value)
    except ValueError:
        return rows.none()
    batch = Batch.objects.using(rows.db).filter(pk=ident).first()
    return rows.filter(batch__in=parts_of(batch, rows.db)) if batch else rows.filter(batch=ident)


def time_range_of(value: str) -> tuple[datetime | None, datetime | None] | None:
    """From when until when; None for an open end, and for what is no span of time."""
    if value in AGES:
        return clock.now() - AGES[value], None
    if value == "older":
        return None, clock.now() - AGES["month"]
    start, dots, end = value.partition("..")
    try:
        times = tuple(_moment(text.strip()) if text.strip() else None for text in (start, end))
    except (ValueError, OverflowError):
        return None
    return (times[0], times[1]) if dots and any(times) else None


def _moment(text: str) -> datetime:
    """A time in ISO 8601; without a zone it is one of the site's."""
    # In an address that was put together by hand "+" is a space.
    moment = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
    return (moment if is_aware(moment) else make_aware(moment)).astimezone(UTC)


def _retrying(rows: Jobs) -> Jobs:
    return rows.filter(UNBLOCKED, attempt__gt=0, held_reason="")


def _held(rows: Jobs) -> Jobs:
    return rows.filter(is_held())


def _expired(rows: Jobs) -> Jobs:
    return rows.filter(state=State.CANCELLED, error_code="expired")


def _stuck(rows: Jobs) -> Jobs:
    """What maintenance should have dealt with: jobs without a worker, too long, or overdue."""
    seconds = SecondsBetween("started_at", Now())
    too_long = Q(bgtasks_seconds__gt=F("timeout") + GRACE.total_seconds())
    timed: Jobs = rows.alias(bgtasks_seconds=seconds)
    return timed.filter(
        Q(~has_live_worker() | too_long, state=State.RUNNING)
        | Q(state=State.SCHEDULED, run_after__lt=after(-GRACE))
    )


def _waits(rows: Jobs) -> Jobs:
    """For a place. The state is said for the index of those that are blocked."""
    return rows.filter(state=State.BLOCKED, waits_for=WaitsFor.LANE)


def _step(rows: Jobs) -> Jobs:
    return rows.filter(state=State.BLOCKED, waits_for=WaitsFor.GATE)


def _skipped(rows: Jobs) -> Jobs:
    return rows.filter(state=State.CANCELLED, error_code__in=SKIP_CODES)


def _holding(rows: Jobs) -> Jobs:
    return rows.filter(state=State.FAILED, place__isnull=False)


PARTS: dict[str, Callable[[Jobs], Jobs]] = {
    "retrying": _retrying,
    "held": _held,
    "stuck": _stuck,
    "expired": _expired,
    "waits": _waits,
    "step": _step,
    "skipped": _skipped,
    "place": lambda rows: rows.filter(place__isnull=False),
    "holding": _holding,
}
FILTERS: dict[str, Callable[[Jobs, str], Jobs]] = {
    "state": by_state,
    "queue": lambda rows, value: rows.filter(queue=value),
    "task": lambda rows, value: rows.filter(task=value),
    "age": by_age,
    "finished": by_finished,
    "error": by_error,
    "changed_by": by_changed,
    "schedule": by_schedule,
    "batch": by_batch,
    "lane": lambda rows, value: rows.filter(lane=value),
    "backend": lambda rows, value: rows.filter(backend__in=stored_backends(value)),
}
# With the search, which needs to know who searches.
PARAMETERS = (*FILTERS, "q")
