"""What is wrong by the figures, and what to do: one judgement for all who show them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from shlex import quote
from typing import Literal

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ..core.formats import percent, span
from .figures import Queue, Status

Level = Literal["warning", "critical"]
# A job that is queued for longer counts as a backlog.
LONG_WAIT = 300.0
# A worker without names on its command line also finds queues that its row does not tell.
UNSERVED = 30.0
# So many must have ended within the hour before a share of failures says something.
ENOUGH, MANY_FAIL = 10, 0.5


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it should be, and its cure.

    about: the queue, if it is one's. command: the part of the cure to be typed, if there is one.
    """

    level: Level
    code: str
    what: str
    cure: str
    about: str = ""
    command: str = ""


def problems_of(status: Status) -> list[Problem]:
    """All that is wrong, the worst first."""
    found = [*_workers(status), *_redis(status), *_maintenance(status), *_strangers(status)]
    for queue in status.queues:
        found += _queue(queue, status)
    return sorted(found, key=lambda problem: problem.level)


def level_of(problems: list[Problem]) -> str:
    """The worst of them; "ok" if there are none."""
    return problems[0].level if problems else "ok"


def _workers(status: Status) -> Iterator[Problem]:
    if not status.alive:
        command = "python manage.py bgworker"
        text, cure = _("No worker is running."), _("Start one: %s") % command
        yield Problem("critical", "no-worker", text, cure, command=command)
    for worker in status.workers:
        if worker.health == "late":
            text = _("The worker %(name)s has not been heard of for %(span)s.")
            cure = _("If it does not come back, others take its jobs over by themselves.")
            told = {"name": worker.name, "span": span(worker.seen)}
            yield Problem("warning", "late-worker", text % told, cure)
        elif worker.health == "alive" and worker.trouble:
            text = _("The job processes of the worker %(name)s end as soon as they start: %(why)s")
            told = {"name": worker.name, "why": worker.trouble.text}
            cure = _("Mend the cause; the log of this worker says more. It tries again by itself.")
            yield Problem("critical", "not-starting", text % told, cure)


def _redis(status: Status) -> Iterator[Problem]:
    if status.redis.problem:
        text = _("Redis at %(address)s does not answer: %(why)s")
        told = {"address": status.redis.address, "why": status.redis.problem.text}
        cure = _("Start Redis, or correct its address. Jobs run from the database meanwhile.")
        yield Problem("warning", "no-redis", text % told, cure)
    if status.redis.suspended:
        text, command = _("All workers are held by `rq suspend`."), "rq resume"
        cure = _("Release them: %s") % command
        yield Problem("warning", "suspended", text, cure, command=command)


def _maintenance(status: Status) -> Iterator[Problem]:
    maintenance = status.maintenance
    if maintenance.overdue and status.alive:
        text = ngettext(
            "%(count)d scheduled job is overdue, by %(span)s.",
            "%(count)d scheduled jobs are overdue, the first by %(span)s.",
            maintenance.overdue,
        )
        told = {"count": maintenance.overdue, "span": span(maintenance.delay)}
        cure = _("Maintenance lags: look for errors in the log of bgworker.")
        yield Problem("warning", "overdue", text % told, cure)


def _strangers(status: Status) -> Iterator[Problem]:
    for stranger in status.strangers:
        text = ngettext(
            "%(count)d job is held: TASKS has no backend %(backend)s of this package.",
            "%(count)d jobs are held: TASKS has no backend %(backend)s of this package.",
            stranger.jobs,
        )
        told = {"count": stranger.jobs, "backend": stranger.backend}
        command = f"python manage.py bgcancel --backend {quote(stranger.backend)}"
        cure = _("Name it in TASKS again, and they run; or cancel them: %s") % command
        yield Problem("warning", "unknown-backend", text % told, cure, command=command)


def _queue(queue: Queue, status: Status) -> Iterator[Problem]:
    if queue.paused:
        text = ngettext(
            "The queue %(queue)s is paused; %(count)d job waits in it.",
            "The queue %(queue)s is paused; %(count)d jobs wait in it.",
            queue.queued,
        )
        command = f"python manage.py bgresume {quote(queue.name)}"
        cure = _("Let it go on: %s") % command
        told = {"queue": queue.name, "count": queue.queued}
        yield Problem("warning", "paused", text % told, cure, queue.name, command)
    elif queue.queued and status.alive:
        yield from _backlog(queue, status)
    share = queue.failure_share
    if share is not None and share >= MANY_FAIL and queue.ended >= ENOUGH:
        text = _("%(share)s of the jobs in the queue %(queue)s failed in the last hour.")
        told = {"share": percent(share), "queue": queue.name}
        cure = _("Read the errors of the failed jobs in the admin, mend them, and retry.")
        yield Problem("warning", "failing", text % told, cure, queue.name)


def _backlog(queue: Queue, status: Status) -> Iterator[Problem]:
    live = [worker for worker in status.workers if worker.health == "alive"]
    served = any(queue.name in worker.queues for worker in live)
    if (queue.oldest or 0) > UNSERVED and not served and not queue.is_declared:
        text = _("Jobs are held in the queue %s, which QUEUES does not have.") % queue.name
        command = "python manage.py bgworker"
        cure = _("Name it in QUEUES again, or start a worker without names of queues: %s")
        yield Problem("warning", "unknown-queue", text, cure % command, queue.name, command)
    elif (queue.oldest or 0) > UNSERVED and not served:
        text = _("No worker serves the queue %s, and jobs wait in it.") % queue.name
        command = f"python manage.py bgworker {quote(queue.name)}"
        cure = _("Start one: %s") % command
        yield Problem("warning", "unserved", text, cure, queue.name, command)
    elif (queue.oldest or 0) > LONG_WAIT:
        text = _("Jobs in the queue %(queue)s wait for up to %(span)s.")
        told = {"queue": queue.name, "span": span(queue.oldest)}
        cure = _("Start more workers, or give this one more processes.")
        yield Problem("warning", "backlog", text % told, cure, queue.name)
