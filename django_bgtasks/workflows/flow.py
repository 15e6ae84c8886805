"""What a site writes: chain(), group(), and `with batch()`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any
from uuid import UUID

from asgiref.sync import sync_to_async
from django.contrib.contenttypes.models import ContentType
from django.db import IntegrityError, transaction

from ..core.dedup import OF_BATCHES, slot_of
from ..core.errors import DuplicateJob, InvalidArguments
from ..core.flows import Flow, FlowOptions, Step
from ..core.options import default_backend
from ..core.payload import fault_of
from ..jobs.inline import run_on_commit
from ..ledger.connection import in_transaction
from ..ledger.lifecycle import ledger_database
from ..models import Batch, BatchKind, Job
from .followers import complete_logged
from .handle import BatchHandle
from .open_batch import OpenBatch, elements_of
from .tree import Tree, insert_elements

LONGEST_KEY = 255


@dataclass(frozen=True, slots=True)
class Workflow(Flow):
    """A chain or a group that can be enqueued."""

    def using(self, **changes: Any) -> Workflow:
        """A copy with other options: name, on_success, on_failure, on_complete, dedup_key, owner,
        about; and priority, queue_name and expires for all its steps.

        on_success, on_failure and on_complete are steps, as task.step(...) makes them: the first
        runs when all jobs have succeeded, the second when the first of them has failed, and the
        third when all have ended, in whatever way. Of a workflow with a dedup key there is only one
        at a time.
        """
        known = {field.name for field in fields(FlowOptions)}
        if unknown := sorted(set(changes) - known):
            raise TypeError(f"A {self.kind} has no option {', '.join(unknown)}.")
        return replace(self, options=_checked(replace(self.options, **changes)))

    def enqueue(self) -> BatchHandle:
        """Insert all jobs in the current transaction; the first ones start after its commit.

        Returns the handle of the whole; its `.deduplicated` says that it is an earlier workflow
        with the same dedup key, which is not finished. Raises InvalidArguments for what cannot be
        stored, QueueFull, and DuplicateJob if the key of a step is taken; nothing was enqueued
        then.
        """
        using = ledger_database()
        return in_transaction(partial(_enqueue, self, using), using)

    async def aenqueue(self) -> BatchHandle:
        """See enqueue()."""
        return await sync_to_async(self.enqueue, thread_sensitive=True)()


def chain(*elements: Any) -> Workflow:
    """Steps one after another: each begins when the one before has succeeded.

    elements: steps, as task.step(...) makes them, chains and groups. RESULT among the arguments of
    a step is what the step before it returns, RESULTS a list of what the jobs of a group return.
    When one fails, those behind it are skipped.
    """
    return Workflow(BatchKind.CHAIN, tuple(elements_of(elements)))


def group(*elements: Any, name: str = "") -> Workflow:
    """Steps at the same time. What follows it in a chain begins when all of them have succeeded.

    elements: steps, chains and groups, or an iterable of them; there may be none. name: by which
    jobs of the workflow find it, to add to it: `context.batch[name].add(...)`.
    """
    flow = Workflow(BatchKind.GROUP, tuple(elements_of(elements)))
    return flow.using(name=name) if name else flow


class GrowingBatch(OpenBatch, BatchHandle):
    """What `with batch()` gives: jobs are added to it within the block, and it is watched then."""

    def __init__(self, row: Batch, using: str) -> None:
        OpenBatch.__init__(self, row, None, partial(insert_elements, start=_start_here), using)
        BatchHandle.__init__(self, row, using)


@contextmanager
def batch(name: str = "", **options: Any) -> Iterator[GrowingBatch]:
    """A group of jobs that are enqueued one by one: `task.using(batch=…).enqueue(…)`, or add().

    options: as for Workflow.using(). The block is a transaction: its jobs start when it has ended,
    and if it raises, or the process dies in it, none was enqueued.
    """
    using = ledger_database()
    flow = group(name=name).using(**options)
    with transaction.atomic(using):
        tree = Tree(default_backend(), using)
        row = tree.add_root(flow)
        _set_options(row, flow.options)
        growing = GrowingBatch(row, using)
        try:
            tree.insert()
        except IntegrityError:
            raise _duplicate(row, using) from None
        yield growing
        growing.is_open = False
        transaction.on_commit(partial(complete_logged, [row.pk], using), using, robust=True)


def _enqueue(flow: Workflow, using: str) -> BatchHandle:
    tree = Tree(_backend_of(flow), using)
    row = tree.add_root(flow)
    _set_options(row, flow.options)
    if row.dedup_slot and (holder := _holder(row.dedup_slot, using)):
        return BatchHandle(holder, using, deduplicated=True)
    try:
        with transaction.atomic(using):
            here = tree.insert()
    except IntegrityError:
        holder = _holder(row.dedup_slot, using) if row.dedup_slot else None
        if holder is None:
            raise
        return BatchHandle(holder, using, deduplicated=True)
    _start_here(here, using)
    if empty := _empty_batches(tree):
        transaction.on_commit(partial(complete_logged, empty, using), using, robust=True)
    return BatchHandle(row, using)


def _start_here(jobs: Sequence[Job], using: str) -> None:
    run_on_commit([(job, partial(_refresh, job, using)) for job in jobs], using)


def _refresh(job: Job, using: str) -> None:
    job.refresh_from_db(using=using)


def _empty_batches(tree: Tree) -> set[UUID]:
    """Those that nobody's end will complete."""
    members = {job.batch for _task, job in tree.jobs} | {one.first.batch for one in tree.alike}
    parents = {row.parent for row in tree.batches}
    return {row.pk for row in tree.batches} - members - parents


def _holder(slot: str, using: str) -> Batch | None:
    return Batch.objects.using(using).filter(dedup_slot=slot).first()


def _duplicate(row: Batch, using: str) -> DuplicateJob:
    holder = _holder(row.dedup_slot or "", using)
    return DuplicateJob(
        f"Batch {holder.pk if holder else '?'} holds the dedup key {row.dedup_key!r}. Nothing was "
        f"enqueued.",
        holder.pk if holder else None,
    )


def _backend_of(flow: Flow) -> str:
    """That of its first step."""
    for element in flow.elements:
        found = element.task.backend if isinstance(element, Step) else _backend_of(element)
        if found:
            return str(found)
    return default_backend()


def _set_options(row: Batch, options: FlowOptions) -> None:
    if options.dedup_key is not None:
        row.dedup_key = options.dedup_key
        row.dedup_slot = slot_of(OF_BATCHES, options.dedup_key)
    if options.owner is not None:
        row.owner_id = options.owner.pk
    if options.about is not None:
        row.about_type_id = ContentType.objects.get_for_model(options.about).pk
        row.about_key = str(options.about.pk)


def _checked(options: FlowOptions) -> FlowOptions:
    for _end, step in options.callbacks:
        if not isinstance(step, Step):
            raise InvalidArguments(
                f"on_success, on_failure and on_complete take a step, such as task.step(...), not "
                f"{step!r}."
            )
    key = options.dedup_key
    if key is not None and (fault := fault_of(key, LONGEST_KEY)):
        raise InvalidArguments(f"The dedup key of a workflow {fault}")
    for what in ("owner", "about"):
        row = getattr(options, what)
        if row is not None and getattr(row, "pk", None) is None and what == "about":
            raise InvalidArguments(f"{what} takes a model instance that is saved, not {row!r}.")
    return options
