"""A call of a task, with Celery's options, becomes a job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.conf import settings
from django.utils import timezone

from ...core import clock
from ...core.errors import DuplicateJob
from ...jobs.enqueue import build, insert_built
from ...jobs.inline import run_on_commit
from ...jobs.results import announce
from ...jobs.task import BackgroundTask, runs_inline
from ...ledger.lifecycle import ledger_database
from ...models import Job
from .conf import configured
from .errors import refuse_call
from .limits import check_limits, our_priority, timeout_of
from .options import OWN_OF_A_CALL, check_call_options
from .request import EXTRAS
from .shapes import as_sent_by
from .task_routes import placed


def prepared(
    task: Any, kwargs: Mapping[str, Any], options: Mapping[str, Any], is_gated: bool = False
) -> tuple[BackgroundTask[Any, Any], dict[str, Any]]:
    """The background task of a call with these options, and its keyword arguments.

    is_gated: it is a step that waits for another one: a countdown counts from when that has ended.
    """
    check_call_options(task.name, options)
    extras = {name: options[name] for name in ("headers", "retries") if options.get(name)}
    if (soft := options.get("soft_time_limit")) is not None:
        extras["soft_time_limit"] = soft
    changes = columns_of(task, options)
    countdown = seconds_of(options.get("countdown"))
    if is_gated and countdown:
        extras["countdown"] = countdown
    elif (run_after := start_of(task.name, countdown, options.get("eta"))) is not None:
        changes["run_after"] = run_after
    own = {name: value for name, value in options.items() if name in OWN_OF_A_CALL}
    changes |= {name: value for name, value in own.items() if name not in changes}
    background = task.background_task
    if changes:
        background = background.using(**changes)
    named = as_sent_by(task, dict(kwargs))
    return background, {**named, EXTRAS: extras} if extras else named


def columns_of(task: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """What the options say of a job, as our using() has it."""
    changes: dict[str, Any] = {}
    definition = task.background_task
    queue, priority = placed(task, options)
    if queue is not None and queue != definition.queue_name:
        changes["queue_name"] = queue
    if priority is not None and our_priority(priority) != definition.priority:
        changes["priority"] = our_priority(priority)
    if (expires := options.get("expires")) is not None:
        changes["expires"] = expiry_of_call(task.name, expires)
    if options.get("time_limit") or options.get("soft_time_limit"):
        hard, soft = options.get("time_limit"), options.get("soft_time_limit")
        check_limits(hard or task.time_limit, soft or task.soft_time_limit)
        changes["timeout"] = timeout_of(hard or task.time_limit, task.background_task.backend)
    if shadow := options.get("shadow"):
        changes["label"] = str(shadow).replace("{", "{{").replace("}", "}}")
    return changes


def seconds_of(span: Any) -> float:
    """A countdown in seconds; 0 for none, and for one that is over."""
    if isinstance(span, timedelta):
        span = span.total_seconds()
    return max(0.0, float(span or 0.0))


def start_of(name: str, countdown: float, eta: Any) -> datetime | None:
    """The time from which on a job may begin; None for now."""
    if countdown and eta is not None:
        raise refuse_call(name, "countdown and eta both say when it begins: give one of them.")
    if eta is None:
        return as_stored(clock.now() + timedelta(seconds=countdown)) if countdown else None
    return as_stored(with_zone(eta))


def expiry_of_call(name: str, expires: Any) -> Any:
    """An expiry as ours: seconds, a timedelta or an aware time."""
    if isinstance(expires, str):
        try:
            expires = datetime.fromisoformat(expires)
        except ValueError:
            raise refuse_call(name, f"expires takes seconds or a time, not {expires!r}.") from None
    return as_stored(with_zone(expires)) if isinstance(expires, datetime) else expires


def with_zone(moment: Any) -> datetime:
    """A time with its zone; a naive one is of CELERY_TIMEZONE, or else UTC, as Celery has it."""
    when: datetime = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    if timezone.is_aware(when):
        return when
    zone = configured("timezone")
    return when.replace(tzinfo=ZoneInfo(str(zone)) if zone else UTC)


def as_stored(moment: datetime) -> datetime:
    """As the fields of a model take it."""
    if settings.USE_TZ:
        return moment
    return timezone.make_naive(moment, timezone.get_default_timezone())


def send_call(
    task: Any, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]
) -> Any:
    """Enqueue one call, in the current transaction. Returns its id."""
    background, named = prepared(task, kwargs, options)
    args = as_sent_by(task, list(args))
    if options.get("task_id") is None:
        return background.enqueue(*args, **named).id
    return _send_as(_id_of(task.name, options["task_id"]), background, args, named)


def _send_as(
    job_id: UUID, background: BackgroundTask[Any, Any], args: Sequence[Any], kwargs: dict[str, Any]
) -> str:
    """Enqueue a call under an id of the caller's own."""
    using = ledger_database()
    if Job.objects.using(using).filter(pk=job_id).exists():
        raise DuplicateJob(f"There is a job with the id {job_id} already.", job_id)
    job = build(background, args, kwargs)
    job.id = job_id
    for inserted in insert_built([job], background, using):
        announce("task_enqueued", inserted, background)
        if runs_inline(background):
            refresh = partial(inserted.refresh_from_db, using=using)
            run_on_commit([(inserted, refresh)], using)
    return str(job_id)


def _id_of(name: str, task_id: Any) -> UUID:
    try:
        return UUID(str(task_id))
    except ValueError:
        raise refuse_call(
            name,
            f"task_id takes a UUID, such as uuid() of django_bgtasks.contrib.celery gives, not "
            f"{task_id!r}. Of what must not be there twice, give a dedup_key.",
        ) from None
