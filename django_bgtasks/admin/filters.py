"""The filters of the job list. None of them scans the table to find its choices."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from ..core.options import entries
from ..core.registry import queues_of
from ..core.states import WAITING, State
from ..models import Job

RECENT = 1000


class StateFilter(admin.SimpleListFilter):
    """By state, and two shades of waiting: jobs that are tried again, and jobs that are held."""

    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Every state, whether there are such jobs or not."""
        choices: list[tuple[str, Any]] = list(State.choices)
        after_queued = 1 + State.values.index(State.QUEUED)
        choices[after_queued:after_queued] = [("retrying", _("Retrying")), ("held", _("Held"))]
        return choices

    def queryset(self, request: HttpRequest, queryset: QuerySet[Job]) -> QuerySet[Job]:
        """The jobs in the chosen state."""
        if self.value() == "retrying":
            return queryset.filter(state__in=sorted(WAITING), attempt__gt=0)
        if self.value() == "held":
            return queryset.filter(state__in=sorted(WAITING), attempt=0).exclude(error="")
        return queryset.filter(state=self.value()) if self.value() else queryset


class QueueFilter(admin.SimpleListFilter):
    """By queue: those of the settings and of the tasks."""

    title = _("queue")
    parameter_name = "queue"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The queues that a job could be put into."""
        names = {queue for alias in entries() for queue in queues_of(alias)}
        return _choices(names, self.used_parameters.get(self.parameter_name))

    def queryset(self, request: HttpRequest, queryset: QuerySet[Job]) -> QuerySet[Job]:
        """The jobs in the chosen queue."""
        return queryset.filter(queue=self.value()) if self.value() else queryset


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
        return queryset.filter(task=self.value()) if self.value() else queryset


def _choices(names: set[str], chosen: str | None) -> list[tuple[str, str]]:
    return [(name, name) for name in sorted(names | ({chosen} if chosen else set()))]
