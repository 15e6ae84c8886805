"""The filters of the job list. None of them scans the table to find its choices."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from ..core.options import entries
from ..core.states import State
from ..jobs.task import queues_of
from ..models import Job
from .queries import narrowed

RECENT = 1000


class StateFilter(admin.SimpleListFilter):
    """By state, and three shades: jobs that are tried again, jobs that are held, stuck jobs."""

    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Every state, whether there are such jobs or not."""
        choices: list[tuple[str, Any]] = list(State.choices)
        after_queued = 1 + State.values.index(State.QUEUED)
        choices[after_queued:after_queued] = [("retrying", _("Retrying")), ("held", _("Held"))]
        return [*choices, ("stuck", _("Stuck"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Job]) -> QuerySet[Job]:
        """The jobs in the chosen state."""
        return narrowed(queryset, {"state": self.value() or ""})


class QueueFilter(admin.SimpleListFilter):
    """By queue: those of the settings and of the tasks."""

    title = _("queue")
    parameter_name = "queue"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The queues that a job could be put into."""
        names = {queue for backend in entries() for queue in queues_of(backend)}
        return _choices(names, self.used_parameters.get(self.parameter_name))

    def queryset(self, request: HttpRequest, queryset: QuerySet[Job]) -> QuerySet[Job]:
        """The jobs in the chosen queue."""
        return narrowed(queryset, {"queue": self.value() or ""})


class TaskFilter(admin.SimpleListFilter):
    """By task: those of the most recent jobs."""

    title = _("task")
    parameter_name = "task"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The tasks of the last RECENT jobs; the search finds the jobs of any task."""
        recent = model_admin.get_queryset(request).order_by("-pk").values_list("task", flat=True)
        return _choices(set(recent[:RECENT]), self.used_parameters.get(self.parameter_name))

    def queryset(self, request: HttpRequest, queryset: QuerySet[Job]) -> QuerySet[Job]:
        """The jobs of the chosen task."""
        return narrowed(queryset, {"task": self.value() or ""})


class AgeFilter(admin.SimpleListFilter):
    """By the time of the call."""

    title = _("time of the call")
    parameter_name = "age"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """The same choices always."""
        return [
            ("hour", _("Last hour")),
            ("day", _("Last 24 hours")),
            ("week", _("Last 7 days")),
            ("month", _("Last 30 days")),
            ("older", _("Older")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Job]) -> QuerySet[Job]:
        """The jobs of that time."""
        return narrowed(queryset, {"age": self.value() or ""})


def _choices(names: set[str], chosen: str | None) -> list[tuple[str, str]]:
    return [(name, name) for name in sorted(names | ({chosen} if chosen else set()))]
