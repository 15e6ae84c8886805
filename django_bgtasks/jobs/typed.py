"""The arguments and results of tasks with types="django": model instances are read for them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from django.apps import apps
from django.core.exceptions import ValidationError
from django.db import connections

from ..core.errors import BgTasksError, ObjectGone, Unreadable
from ..core.messages import Reason
from ..core.outcomes import Failure, Outcome, outcome_of_release
from ..core.payload import redact, to_json
from ..core.states import Transition
from ..core.tags import Tag
from ..core.values import Find, imported_class, references_in, typed_value
from ..ledger.connection import retry_if_lost
from ..models import Job
from ..sandbox.threads import in_passing

# Keys in one query.
CHUNK = 500
Call = tuple[list[Any], dict[str, Any]]


class NotToRun(BgTasksError):
    """The arguments are not there. outcome: what becomes of the job whose task has not begun."""

    def __init__(self, outcome: Outcome, reason: Reason) -> None:
        super().__init__(str(reason))
        self.outcome, self.reason = outcome, reason


def value_of(stored: Any, find: Find = imported_class) -> Any:
    """The value that a typed one was. Raises ObjectGone, or Unreadable."""
    rows = _rows_of(list(references_in(stored)))
    return typed_value(stored, rows, find)


def call_of(job: Job, task: Any, hold: Any) -> Call:
    """The arguments with which a typed job calls its task.

    hold: how long the job waits if one cannot be read here. Raises ObjectGone, or NotToRun.
    """
    raw = (job.args, job.kwargs)
    try:
        args, kwargs = value_of(list(raw))
    except Unreadable as error:
        why = error.reason.params["why"] if error.reason else str(error)
        reason = Reason("value_unreadable", {"why": redact(why, task, *raw)})
        raise NotToRun(outcome_of_release(reason, hold), reason) from error
    except ObjectGone as error:
        if error.reason is None or getattr(task, "missing", "fail") == "fail":
            raise
        params = error.reason.params
        reason = Reason("skipped", {"model": params["model"], "key": params["key"]})
        failure = Failure.of("cancelled", reason)
        raise NotToRun(Outcome(Transition.CANCEL_RUNNING, failure=failure), reason) from None
    return args, kwargs


async def acall_of(job: Job, task: Any, hold: Any) -> Call:
    """call_of(), for a coroutine: the database is asked only if there is something to be read."""
    if next(references_in([job.args, job.kwargs]), None) is None:
        return call_of(job, task, hold)
    return await in_passing(call_of, job, task, hold)


def _rows_of(tags: Iterable[Tag]) -> dict[str, Any]:
    """The model instances of these references, with a query for each model and database."""
    groups: defaultdict[tuple[str, str], list[Tag]] = defaultdict(list)
    for tag in tags:
        groups[str(tag.get("using")), str(tag.get("model"))].append(tag)
    rows: dict[str, Any] = {}
    for (using, label), members in groups.items():
        rows |= _rows_in(using, label, members)
    return rows


def _rows_in(using: str, label: str, tags: list[Tag]) -> dict[str, Any]:
    try:
        model = apps.get_model(label)
        keys = {to_json(tag): _key_of(tag["pk"], model._meta.pk_fields) for tag in tags}
    except (LookupError, TypeError, ValueError, ValidationError) as error:
        why = f"{label}: {type(error).__name__}: {error}"
        raise Unreadable.of("value_unreadable", why=why) from error
    if using not in connections.settings:
        why = f"DATABASES has no entry {using!r} here"
        raise Unreadable.of("value_unreadable", why=why)
    # Not by a manager of the model's own, which may leave some rows out.
    manager = model._base_manager.using(using)
    distinct = list(set(keys.values()))
    found: dict[Any, Any] = {}
    for start in range(0, len(distinct), CHUNK):
        query = manager.filter(pk__in=distinct[start : start + CHUNK])
        read: Callable[[], list[Any]] = partial(list, query)
        found |= {instance.pk: instance for instance in retry_if_lost(read, using)}
    for key in distinct:
        if key not in found:
            raise ObjectGone.of("object_gone", model=model._meta.label, key=key)
    return {reference: found[key] for reference, key in keys.items()}


def _key_of(stored: Any, fields: Any) -> Any:
    """The primary key; a tuple where it has several fields."""
    if len(fields) == 1:
        return fields[0].to_python(stored)
    return tuple(field.to_python(part) for field, part in zip(fields, stored, strict=True))
