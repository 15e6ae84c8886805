"""The search of the job list, and the arguments that it shows.

A whole id, key or name is looked up in its index. Only what is none of these is sought in rows: in
the names of tasks, and in the arguments of the newest jobs, as far as the user may see them.
"""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db import models
from django.db.models import Case, F, Q, QuerySet, Value, When
from django.db.models.functions import Cast, Coalesce, Concat

from ..core.payload import masked_call, masked_key, may_see_secrets
from ..jobs.task import known_task
from ..models import Job

# In the arguments of so many jobs; of those before them only the task is compared.
SEARCHED = 10_000
# Larger arguments are neither searched nor shown in the list, in bytes as they are stored.
LARGE = 4_000


class StoredSize(models.Func):
    """The bytes of a value as the database keeps it, which it knows without unpacking it."""

    function = "LENGTH"
    output_field = models.IntegerField()

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(compiler, connection, function="PG_COLUMN_SIZE", **context)


def _unless_large(field: str, then: Any) -> Case:
    """The expression where this field is no larger than LARGE; NULL where it is."""
    return Case(When(Q(models.lookups.LessThanOrEqual(StoredSize(field), LARGE)), then=then))


def small_calls(job_ids: list[UUID]) -> dict[UUID, tuple[Any, Any]]:
    """The arguments and keyword arguments of these jobs; None in the place of large ones."""
    small = {f"small_{name}": _unless_large(name, F(name)) for name in ("args", "kwargs")}
    rows = Job.objects.filter(pk__in=job_ids).order_by().annotate(**small)
    return {pk: (args, kwargs) for pk, args, kwargs in rows.values_list("pk", *small)}


def by_search(rows: QuerySet[Any], value: str, user: Any) -> QuerySet[Any]:
    """An id of a job or a batch; else a dedup key or an owner's name; else a part of a task's name,
    of a label or of the arguments. user: who must be allowed to see what is found there.
    """
    try:
        ident = UUID(value)
    except ValueError:
        exact = _of_key(value, user)
        if owners := _owners(value):
            exact |= Q(owner__in=owners)
        if rows.model._base_manager.filter(exact).exists():
            return rows.filter(exact)
        named = Q(task__icontains=value) | Q(label__icontains=value)
        return rows.filter(named | _in_arguments(rows, value, user))
    return rows.filter(Q(pk=ident) | Q(batch=ident))


def _of_key(key: str, user: Any) -> Q:
    """The jobs with this dedup key: those whose key the user sees."""
    if may_see_secrets(user):
        return Q(dedup_key=key)
    paths = Job.objects.filter(dedup_key=key).order_by().values_list("task", flat=True).distinct()
    visible = [path for path in paths if masked_key(known_task(path), key) == key]
    return Q(dedup_key=key, task__in=visible)


def _owners(name: str) -> list[Any]:
    user: Any = get_user_model()
    found = user._default_manager.filter(**{user.USERNAME_FIELD: name})
    return list(found.values_list("pk", flat=True)[:10])


def _in_arguments(rows: QuerySet[Any], value: str, user: Any) -> Q:
    """The newest jobs of these rows whose arguments have the value, as ids."""
    last = rows.order_by("-pk").values_list("pk", flat=True)[SEARCHED - 1 : SEARCHED].first()
    newest = rows.filter(pk__gte=last) if last else rows
    text = Concat(_as_text("args"), Value(" "), _as_text("kwargs"), output_field=models.TextField())
    found = newest.annotate(bgtasks_call=text).filter(_contains("bgtasks_call", value))
    if may_see_secrets(user):
        return Q(pk__in=list(found.order_by().values_list("pk", flat=True)))
    # A search must not tell what the list does not show.
    calls = list(found.order_by().values_list("pk", "task", "args", "kwargs"))
    tasks = {path: known_task(path) for path in {call[1] for call in calls}}
    seen = [pk for pk, path, *call in calls if _is_visible(value, tasks[path], *call)]
    return Q(pk__in=seen)


def _as_text(field: str) -> Any:
    text = _unless_large(field, Cast(field, models.TextField()))
    return Coalesce(text, Value(""), output_field=models.TextField())


def _contains(field: str, value: str) -> Q:
    """JSON has some signs escaped, and some databases keep it with all but ASCII escaped."""
    forms = {json.dumps(value, ensure_ascii=escaped)[1:-1] for escaped in (True, False)}
    found = Q()
    for form in sorted(forms):
        found |= Q(**{f"{field}__icontains": form})
    return found


def _is_visible(value: str, task: Any, args: list[Any], kwargs: dict[str, Any]) -> bool:
    call = json.dumps(masked_call(task, args, kwargs), ensure_ascii=False)
    return json.dumps(value, ensure_ascii=False)[1:-1].lower() in call.lower()
