"""What is wrong with a backend, and what to do: one judgement for all who show it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from shlex import quote
from typing import Literal

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ..core.formats import duration, percent
from ..core.messages import Reason
from .commands import to_type
from .health import WorkerHealth
from .snapshot import QueueSnapshot, Snapshot

Level = Literal["warning", "critical"]
# A job that is queued for longer counts as a backlog.
LONG_WAIT = 300.0
# A worker without names on its command line also finds queues that its row does not tell.
UNSERVED = 30.0
# Maintenance promotes a due job within a second: who is so late has stopped.
STALLED = 40.0
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

    def __str__(self) -> str:
        return f"{self.what} {self.cure}"


def diagnose(snapshot: Snapshot) -> list[Problem]:
    """All that is wrong, the worst first. Of what a snapshot leaves out, it says nothing.

    Probes take a snapshot of workers and maintenance only: healthz tells what is critical there.
    """
    parts = (_workers, _redis, _maintenance, _unknown_backends)
    found = [problem for part in parts for problem in part(snapshot)]
    for queue in snapshot.queues:
        found += _queue(queue, snapshot)
    return sorted(found, key=lambda problem: problem.level)


def level_of(problems: list[Problem]) -> str:
    """The worst of them; "ok" if there are none."""
    return problems[0].level if problems else "ok"


def redis_problem(address: str, why: Reason) -> Problem:
    """Redis does not answer."""
    text = _("Redis at %(address)s does not answer: %(why)s")
    cure = _("Start Redis, or correct its address. Jobs run from the database meanwhile.")
    values = {"address": address, "why": why.text}
    return Problem("warning", "no-redis", text % values, cure)


def _workers(snapshot: Snapshot) -> Iterator[Problem]:
    if not snapshot.alive:
        command = to_type("bgworker", snapshot.backend)
        text, cure = _("No worker is running."), _("Start one: %s") % command
        yield Problem("critical", "no-worker", text, cure, command=command)
    for worker in snapshot.workers:
        if worker.health is WorkerHealth.LATE:
            text = _("The worker %(name)s has not been heard of for %(span)s.")
            cure = _("If it does not come back, others take its jobs over by themselves.")
            values = {"name": worker.name, "span": duration(worker.seen)}
            yield Problem("warning", "late-worker", text % values, cure)
        elif worker.health is WorkerHealth.ALIVE and worker.trouble:
            text = _("The job processes of the worker %(name)s end as soon as they start: %(why)s")
            values = {"name": worker.name, "why": worker.trouble.text}
            cure = _("Mend the cause; the log of this worker says more. It tries again by itself.")
            yield Problem("critical", "not-starting", text % values, cure)


def _redis(snapshot: Snapshot) -> Iterator[Problem]:
    if snapshot.redis.problem:
        yield redis_problem(snapshot.redis.address, snapshot.redis.problem)
    if snapshot.redis.suspended:
        text, command = _("All workers are held by `rq suspend`."), "rq resume"
        cure = _("Release them: %s") % command
        yield Problem("warning", "suspended", text, cure, command=command)


def _maintenance(snapshot: Snapshot) -> Iterator[Problem]:
    maintenance = snapshot.maintenance
    if not snapshot.alive:
        return
    if maintenance.overdue:
        text = ngettext(
            "%(count)d scheduled job is overdue, by %(span)s.",
            "%(count)d scheduled jobs are overdue, the first by %(span)s.",
            maintenance.overdue,
        )
        values = {"count": maintenance.overdue, "span": duration(maintenance.delay)}
        cure = _("Maintenance lags: look for errors in the log of bgworker.")
        level: Level = "critical" if maintenance.delay > STALLED else "warning"
        yield Problem(level, "overdue", text % values, cure)
    if maintenance.orphans:
        text = ngettext(
            "%(count)d job belongs to a worker that is gone.",
            "%(count)d jobs belong to workers that are gone.",
            maintenance.orphans,
        )
        cure = _("Maintenance takes over within seconds; if not, look into the log of bgworker.")
        yield Problem("warning", "orphaned", text % {"count": maintenance.orphans}, cure)


def _unknown_backends(snapshot: Snapshot) -> Iterator[Problem]:
    for unknown in snapshot.unknown_backends:
        text = ngettext(
            "%(count)d job is held: TASKS has no backend %(backend)s of this package.",
            "%(count)d jobs are held: TASKS has no backend %(backend)s of this package.",
            unknown.jobs,
        )
        values = {"count": unknown.jobs, "backend": unknown.backend}
        command = f"python manage.py bgcancel --backend {quote(unknown.backend)}"
        cure = _("Name it in TASKS again, and they run; or cancel them: %s") % command
        yield Problem("warning", "unknown-backend", text % values, cure, command=command)


def _queue(queue: QueueSnapshot, snapshot: Snapshot) -> Iterator[Problem]:
    if queue.paused:
        text = ngettext(
            "The queue %(queue)s is paused; %(count)d job waits in it.",
            "The queue %(queue)s is paused; %(count)d jobs wait in it.",
            queue.queued,
        )
        command = to_type("bgresume", snapshot.backend, queue.name)
        cure = _("Let it go on: %s") % command
        values = {"queue": queue.name, "count": queue.queued}
        yield Problem("warning", "paused", text % values, cure, queue.name, command)
    elif queue.queued and snapshot.alive:
        yield from _backlog(queue, snapshot)
    share = queue.failure_share
    if share is not None and share >= MANY_FAIL and queue.ended >= ENOUGH:
        text = _("%(share)s of the jobs in the queue %(queue)s failed in the last hour.")
        values = {"share": percent(share), "queue": queue.name}
        cure = _("Read the errors of the failed jobs in the admin, mend them, and retry.")
        yield Problem("warning", "failing", text % values, cure, queue.name)


def _backlog(queue: QueueSnapshot, snapshot: Snapshot) -> Iterator[Problem]:
    live = [worker for worker in snapshot.workers if worker.health is WorkerHealth.ALIVE]
    served = any(queue.name in worker.queues for worker in live)
    if (queue.oldest or 0) > UNSERVED and not served and not queue.is_declared:
        text = _("Jobs are held in the queue %s, which QUEUES does not have.") % queue.name
        command = to_type("bgworker", snapshot.backend)
        cure = _("Name it in QUEUES again, or start a worker without names of queues: %s")
        yield Problem("warning", "unknown-queue", text, cure % command, queue.name, command)
    elif (queue.oldest or 0) > UNSERVED and not served:
        text = _("No worker serves the queue %s, and jobs wait in it.") % queue.name
        command = to_type("bgworker", snapshot.backend, queue.name)
        cure = _("Start one: %s") % command
        yield Problem("warning", "unserved", text, cure, queue.name, command)
    elif (queue.oldest or 0) > LONG_WAIT:
        text = _("Jobs in the queue %(queue)s wait for up to %(span)s.")
        values = {"queue": queue.name, "span": duration(queue.oldest)}
        cure = _("Start more workers, or give this one more processes.")
        yield Problem("warning", "backlog", text % values, cure, queue.name)
