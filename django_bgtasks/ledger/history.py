"""The history: who did what. An entry commits together with what it tells of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from ..models import HistoryEntry, HistoryVerb, Job
from .connection import retried
from .times import Now, after

CANCELLING = (HistoryVerb.CANCELLED, HistoryVerb.ASKED_TO_STOP)
CHUNK = 1000
BATCH = 500


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something. name: of a user of the site or of the shell. via: "admin", "site", or
    the command. source: the job that does it for them.
    """

    name: str
    via: str = "site"
    source: UUID | None = None


def record_jobs(verb: HistoryVerb, actor: Actor, jobs: Iterable[Job], using: str) -> None:
    """Write an entry for each of these jobs."""
    whats = ({"job": job.pk, "task": job.task, "queue": job.queue} for job in jobs)
    record(verb, actor, whats, using)


def record(verb: HistoryVerb, actor: Actor, whats: Iterable[Mapping[str, Any]], using: str) -> None:
    """Write an entry for each, in one statement for BATCH of them.

    whats: the `job` and its `task`, the `queue`, the `schedule`, the `batch`, or a `detail`.
    """
    fields = {"verb": verb, "by": actor.name[:150], "via": actor.via[:32], "source": actor.source}
    entries = [HistoryEntry(at=Now(), **fields, **what) for what in whats]
    HistoryEntry.objects.using(using).bulk_create(entries, batch_size=BATCH)


def who_cancelled(jobs: Iterable[Job], using: str) -> dict[UUID, HistoryEntry]:
    """The last entry of who cancelled each of these cancelled jobs, or asked it to stop.

    Not for a job that was retried since, and then cancelled by nobody whom the history knows.
    """
    asked_at = {job.pk: job.cancel_requested_at for job in jobs}
    verbs = (*CANCELLING, HistoryVerb.RETRIED)
    rows = HistoryEntry.objects.using(using).filter(job__in=list(asked_at), verb__in=verbs)
    last = {entry.job: entry for entry in rows.order_by("pk")}
    return {
        pk: last[pk]
        for pk, since in asked_at.items()
        if since and pk in last and last[pk].verb in CANCELLING and last[pk].at >= since
    }


def is_of_user(entry: HistoryEntry, name: str) -> bool:
    """Whether this user of the site did it: one of the shell may have the same name."""
    return entry.by == name and entry.via in ("admin", "site")


@retried
def prune_history(age: timedelta, using: str, chunk: int = CHUNK) -> int:
    """Delete the entries that are older; one chunk."""
    old = HistoryEntry.objects.using(using).filter(at__lt=after(-age))
    ids = list(old.order_by("at").values_list("pk", flat=True)[:chunk])
    return old.filter(pk__in=ids)._raw_delete(using) if ids else 0
