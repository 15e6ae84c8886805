"""The filters and the search of the list of schedules, as querysets."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from ..models import Schedule
from ..monitoring.schedules import STATES, ScheduleStates

Rows = QuerySet[Any]


class ScheduleStateFilter(admin.SimpleListFilter):
    """By whether they fire, by what a person has changed, and by how the last job ended."""

    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Every state, whether there are such schedules or not."""
        more = [("overridden", _("Changed by a person")), ("failing", _("Failing"))]
        return [*STATES.items(), *more]

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        return schedules_in_state(queryset, self.value() or "")


class ScheduleTaskFilter(admin.SimpleListFilter):
    """By task."""

    title = _("task")
    parameter_name = "task"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """The tasks of the first schedules by their names; of thousands nobody reads on."""
        tasks = Schedule.objects.order_by("task").values_list("task", flat=True).distinct()
        return [(task, task) for task in tasks[:CHOICES]]

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        value = self.value() or ""
        if "\0" in value:
            return queryset.none()
        return queryset.filter(task=value) if value else queryset


CHOICES = 200


def schedules_in_state(rows: Rows, value: str) -> Rows:
    """Those of one of STATES; changed by a person; or whose last job has failed."""
    if value == "overridden":
        return rows.filter(overridden=True)
    if value not in (*STATES, "failing"):
        return rows
    found = ScheduleStates(Schedule.objects.order_by()).rows_in(value)
    return rows.filter(pk__in=found.order_by().values("pk"))


def search_schedules(rows: Rows, term: str) -> Rows:
    """By a part of the name or of the task's name, or by a whole owner's name."""
    if "\0" in term:
        return rows.none()
    user: Any = get_user_model()
    owners = user._default_manager.filter(**{user.USERNAME_FIELD: term})
    found = Q(name__icontains=term) | Q(task__icontains=term)
    ids = list(owners.values_list("pk", flat=True)[:10])
    return rows.filter(found | Q(owner__in=ids) if ids else found)
