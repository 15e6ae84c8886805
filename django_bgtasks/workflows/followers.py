"""After the end of a job of a workflow: send what it has released, and finish what is complete."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Sequence
from functools import partial
from uuid import UUID

from django.db import transaction

from ..core.outcomes import outcome_of_gate
from ..jobs.busy import AFTER_BUSY, announce_unbegun
from ..jobs.enqueue import start_jobs
from ..ledger.batch_moves import cancel_waiting, cancelled_with_waiting, mark_cancelled
from ..ledger.batches import (
    GATE_FAILED,
    BatchBusyError,
    Effects,
    find_complete,
    finish_batch,
    open_that_look_complete,
)
from ..models import Job

logger = logging.getLogger("django_bgtasks")
# Jobs that are cancelled in one transaction, and batches that are looked at together.
CANCEL_PAGE, LOOK_PAGE = 5000, 500
# How often a batch is looked at again that somebody has locked, and after how many seconds.
BUSY_LOOKS, BUSY_PAUSE = 200, 0.005


def follow(jobs: Sequence[Job], using: str) -> None:
    """Do what follows from the end of these jobs after the commit of the current transaction."""
    effects = Effects(batches={job.batch for job in jobs if job.batch is not None})
    for job in jobs:
        if job.effects is not None:
            effects.add(job.effects)
            job.effects = None
    follow_effects(effects, using)


def follow_effects(effects: Effects, using: str) -> None:
    """follow(), for what a change of the ledger has come to."""
    # Its batch is not complete: somebody else looks when it has ended.
    effects.batches -= {job.batch for job in effects.released if job.batch is not None}
    if effects.batches or effects.released or effects.skipped:
        transaction.on_commit(partial(_follow_logged, effects, using), using, robust=True)


def complete_batches(batches: Collection[UUID], using: str) -> None:
    """Finish those of these batches that are complete, then those of which they are a part.

    Nobody waits for who finishes the same batch, but looks again; in the end a sweep does.
    """
    rest, looks = set(batches), 0
    while rest and looks < BUSY_LOOKS:
        found, rest = find_complete(rest, using), set()
        busy = set()
        for batch_id in found:
            try:
                effects = finish_batch(batch_id, using)
            except BatchBusyError:
                busy.add(batch_id)
                continue
            if effects is not None:
                _send(effects, using)
                rest |= effects.batches
        if busy:
            rest, looks = rest | busy, looks + 1
            time.sleep(BUSY_PAUSE)


def cancel_all(batch_id: UUID, using: str) -> list[Job]:
    """Cancel the waiting jobs of a batch and of its parts, page by page; nothing can be added to
    them from then on. Returns those that were cancelled.
    """
    batches = mark_cancelled(batch_id, using)
    cancelled: list[Job] = []
    while jobs := cancel_waiting(batches, CANCEL_PAGE, using):
        follow(jobs, using)
        cancelled += jobs
    transaction.on_commit(partial(complete_logged, batches, using), using, robust=True)
    return cancelled


def sweep(using: str) -> int:
    """Do what a crash has left undone: finish batches that are complete, and cancel the jobs of
    cancelled ones. Returns how many batches there were.
    """
    count = 0
    for batch_id in cancelled_with_waiting(LOOK_PAGE, using):
        cancel_all(batch_id, using)
        count += 1
    last: UUID | None = None
    while found := open_that_look_complete(last, LOOK_PAGE, using):
        complete_batches(found, using)
        count, last = count + len(found), found[-1]
    return count


def _follow_logged(effects: Effects, using: str) -> None:
    """After a commit nobody is to fail for what comes after it: a sweep finds what is left."""
    try:
        _send(effects, using)
        complete_batches(effects.batches, using)
    except Exception:
        logger.exception("What follows in a workflow is left to maintenance.")


def complete_logged(batches: Collection[UUID], using: str) -> None:
    """complete_batches(), for after a commit: what fails is left to the sweep."""
    _follow_logged(Effects(batches=set(batches)), using)


def _send(effects: Effects, using: str) -> None:
    start_jobs(effects.released, using)
    for job in effects.skipped:
        # Of a callback that is not needed nobody need hear.
        if job.error_code == GATE_FAILED:
            announce_unbegun(job, outcome_of_gate(is_needed=True), using)


AFTER_BUSY.append(follow)
