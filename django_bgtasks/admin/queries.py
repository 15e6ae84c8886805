"""Which jobs the list shows: what each filter and the search mean, as querysets.

Kept apart from Django's filters, for a background job moves "all that match" by the same rules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from ..core import clock
from ..core.options import known_backends
from ..core.states import State
from ..ledger.times import Now, SecondsBetween, after
from ..models import Worker

# A minute more tha maintenance needs to rescue, to stop or to promote a job.
GRACE = timedelta(seconds=60)
AGES = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=30),
}

Jobs = QuerySet[Any]


def narrowed(rows: Jobs, chosen: Mapping[str, str]) -> Jobs:
    """The jobs that the filters and the search (`q`) of this query string leave."""
    for name, narrow in NARROWINGS.items():
        if value := chosen.get(name, "").strip():
            # No text of PostgreSQL's has a NUL, and it refuses to look for one.
            rows = rows.none() if "\0" in value else narrow(rows, value)
    return rows


def by_state(rows: Jobs, value: str) -> Jobs:
    """One state, or a shade of some: retrying, held, stuck."""
    shades = {"retrying": _retrying, "held": _held, "stuck": _stuck}
    found: Jobs = shades[value](rows) if value in shades else rows.filter(state=value)
    return found


def by_queue(rows: Jobs, value: str) -> Jobs:
    """One queue."""
    return rows.filter(queue=value)


def by_task(rows: Jobs, value: str) -> Jobs:
    """One task, by its whole dotted path."""
    return rows.filter(task=value)


def by_age(rows: Jobs, value: str) -> Jobs:
    """Enqueued within the last hour, day, week or month, or before that month."""
    if value == "older":
        return rows.filter(pk__lt=clock.id_floor(clock.now() - AGES["month"]))
    # An id holds the time it was made at, so that the primary key answers.
    return rows.filter(pk__gte=clock.id_floor(clock.now() - AGES[value])) if value in AGES else rows


def by_words(rows: Jobs, value: str) -> Jobs:
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
    # Partial indexes know one state each. A blocked job has had no attempt.
    waiting = Q(state=State.QUEUED) | Q(state=State.SCHEDULED)
    return rows.filter(waiting, attempt__gt=0, held_reason="")


def _held(rows: Jobs) -> Jobs:
    """Jobs whose task could not be found, and those of backends that TASKS does not have."""
    waiting = Q(state=State.QUEUED) | Q(state=State.SCHEDULED)
    strange = ~Q(backend__in=known_backends())
    return rows.filter(waiting, strange | ~Q(held_reason=""))


def _stuck(rows: Jobs) -> Jobs:
    """What maintenance should have dealt with: jobs without a worker, too long, or overdue."""
    alive = Worker.objects.filter(pk=OuterRef("worker"), lost_at=None, stopped_at=None)
    seconds = SecondsBetween("started_at", Now())
    too_long = Q(bgtasks_seconds__gt=F("timeout") + GRACE.total_seconds())
    timed: Jobs = rows.alias(bgtasks_seconds=seconds)
    return timed.filter(
        Q(~Exists(alive) | too_long, state=State.RUNNING)
        | Q(state=State.SCHEDULED, run_after__lt=after(-GRACE))
    )


NARROWINGS: dict[str, Callable[[Jobs, str], Jobs]] = {
    "state": by_state,
    "queue": by_queue,
    "task": by_task,
    "age": by_age,
    "q": by_words,
}
