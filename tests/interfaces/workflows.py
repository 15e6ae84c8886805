"""Workflows in every state, for the pages that show them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from django_bgtasks.core import clock
from django_bgtasks.core.flows import GateOn
from django_bgtasks.core.states import State, WaitsFor
from django_bgtasks.ledger.batches import GATE_FAILED
from django_bgtasks.models import Batch, Job

from .rows import make_job

SPLIT, PART, JOIN = "shop.files.split", "shop.files.make_part", "shop.files.join_parts"


def make_batch(kind: str = "group", parent: Batch | None = None, **fields: Any) -> Batch:
    """One that was enqueued five minutes ago, and has begun; of no parent if that is None."""
    created = clock.now() - timedelta(minutes=5)
    row = Batch(kind=kind, created_at=created, opened_at=created, backend="default")
    row.root, row.parent = (parent.root, parent.pk) if parent else (row.pk, None)
    for name, value in fields.items():
        setattr(row, name, value)
    if row.outcome and row.finished_at is None:
        row.finished_at = clock.now()
    row.save(force_insert=True)
    return row


def make_member(batch: Batch, state: str = State.QUEUED, **fields: Any) -> Job:
    """A job of it."""
    return make_job(state, **{"task": PART, "batch": batch.pk, **fields})


def make_step(batch: Batch | None, gate: UUID, on: str = GateOn.NEXT, **fields: Any) -> Job:
    """A job that waits for another job or a batch."""
    waits = {"gate": gate, "gate_on": on, "waits_for": WaitsFor.GATE, "lane": None, "lane_mode": ""}
    values = {"task": JOIN, "batch": batch.pk if batch else None, **waits, **fields}
    return make_job(State.BLOCKED, **values)


def skip(job: Job) -> Job:
    """As the ledger does it."""
    job.state, job.waits_for, job.error_code = State.CANCELLED, "", GATE_FAILED
    job.error, job.finished_at = "Skipped: what it waited for has not succeeded.", clock.now()
    job.save()
    return job


def split_and_join(members: int = 3, **options: Any) -> tuple[Batch, Batch, Job]:
    """A chain that has split a file into parts, which run: itself, its group, its last step."""
    root = make_batch("chain", name="contacts.csv", **options)
    first = make_member(root, State.SUCCEEDED, task=SPLIT, has_followers=True)
    parts = make_batch("group", root, name="parts", gate=first.pk)
    for number in range(members):
        make_member(parts, State.QUEUED, label=f"part {number}", gate=first.pk, gate_on="next")
    return root, parts, make_step(root, parts.pk)
