"""The rows of a workflow: a batch for each chain and group, a job for each step and callback."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any
from uuid import UUID

from ..core.errors import DuplicateJob, InvalidArguments
from ..core.flows import (
    NO_OPTIONS,
    OF_WORKFLOWS,
    Flow,
    GateOn,
    Step,
    refuse_lookalikes,
    refuse_unmet,
)
from ..core.payload import fault_of, masked_key
from ..core.states import State
from ..jobs.carried import carried_of, carry
from ..jobs.enqueue import (
    build,
    check_depth,
    dispatch_on_commit,
    is_limited,
    message_for,
    push_on_commit,
    start_on_commit,
)
from ..jobs.enqueue_many import calls_of
from ..jobs.middleware import middleware_of
from ..jobs.results import UnsavedJobs, announce, is_heard
from ..jobs.task import known_task, runs_inline
from ..ledger.lifecycle import Call, insert, insert_calls, job_of
from ..ledger.times import Now
from ..models import Batch, BatchKind, Job
from .open_batch import OpenBatch, wait_at_gate

LONGEST_NAME = 200
# Rows in one statement.
PAGE = 1000
# So many calls of one task, one after another in a group, are inserted together.
ALIKE = 20


@dataclass(slots=True)
class Alike:
    """Jobs of a group that differ in what a Call has only. first: the job of the first call."""

    task: Any
    first: Job
    calls: Sequence[Call]


@dataclass(slots=True)
class Tree:
    """Rows that are to be inserted.

    skips_duplicates: a step whose dedup key is taken is left out; otherwise it is an error.
    """

    backend: str
    using: str
    skips_duplicates: bool = False
    batches: list[Batch] = field(default_factory=list)
    jobs: list[tuple[Any, Job]] = field(default_factory=list)
    alike: list[Alike] = field(default_factory=list)
    _by_id: dict[UUID, Job] = field(default_factory=dict)
    _tasks: dict[tuple[Any, ...], Any] = field(default_factory=dict)

    def add_root(self, flow: Flow) -> Batch:
        """Put a whole workflow here. Returns its batch."""
        batch = self._new_batch(flow, None, None)
        self._fill(batch, flow)
        return batch

    def add_to(self, batch: Batch, elements: Sequence[Step | Flow], options: Any) -> None:
        """Put further elements of a group here."""
        gate = batch.gate if batch.opened_at is None else None
        self._place_all(elements, batch, gate, options)

    def add_callbacks(self, batch: Batch, options: Any) -> None:
        """Put the callbacks of a batch here."""
        for end, step in options.callbacks:
            job = self._build(step, options)
            job.batch = batch.parent
            wait_at_gate(job, batch.pk, end)
            self.jobs.append((step.task, job))

    def _fill(self, batch: Batch, flow: Flow) -> None:
        if flow.kind == BatchKind.GROUP:
            self._place_all(flow.elements, batch, batch.gate, flow.options)
        else:
            gate = batch.gate
            for element in flow.elements:
                gate = self._place(element, batch, gate, flow.options)
        self.add_callbacks(batch, flow.options)

    def _place_all(
        self, elements: Sequence[Step | Flow], batch: Batch, gate: UUID | None, options: Any
    ) -> None:
        """Elements of a group: calls of one task that follow each other go together."""
        is_step = lambda one: id(one.task) if isinstance(one, Step) else 0  # noqa: E731
        for task_id, members in groupby(elements, key=is_step):
            some: list[Any] = list(members)
            if task_id and len(some) >= ALIKE and some[0].task.dedup_key is None:
                self._place_alike(some, batch, gate, options)
                continue
            for element in some:
                self._place(element, batch, gate, options)

    def _place_alike(
        self, steps: Sequence[Any], batch: Batch, gate: UUID | None, options: Any
    ) -> None:
        task = self._task(steps[0].task, options)
        for step in steps:
            refuse_lookalikes(task.module_path, step.args, step.kwargs)
            if gate is None:
                refuse_unmet(task.module_path, step.args, step.kwargs)
        first = self._build(steps[0], options)
        first.batch = batch.pk
        wait_at_gate(first, gate, GateOn.NEXT)
        calls = calls_of(first, [(step.args, step.kwargs) for step in steps], task)
        self.alike.append(Alike(task, first, calls))

    def _place(
        self, element: Step | Flow, batch: Batch, gate: UUID | None, options: Any
    ) -> UUID | None:
        """Put an element here that waits for this gate. Returns the gate of the next one."""
        if isinstance(element, Step):
            if gate is None:
                refuse_unmet(element.task.module_path, element.args, element.kwargs)
            job = self._build(element, options)
            job.batch = batch.pk
            wait_at_gate(job, gate, GateOn.NEXT)
            self._follow(gate)
            self.jobs.append((element.task, job))
            self._by_id[job.pk] = job
            return job.pk
        if batch.kind == BatchKind.CHAIN == element.kind and not _is_marked(element):
            for one in element.elements:
                gate = self._place(one, batch, gate, options)
            return gate
        self._follow(gate)
        part = self._new_batch(element, batch, gate)
        self._fill(part, replace(element, options=_inherited(element.options, options)))
        return part.pk

    def _new_batch(self, flow: Flow, parent: Batch | None, gate: UUID | None) -> Batch:
        options = flow.options
        if options.name and (fault := fault_of(options.name, LONGEST_NAME)):
            raise InvalidArguments(f"The name of a batch {fault}")
        if parent is not None and (own := [n for n in OF_WORKFLOWS if getattr(options, n)]):
            raise InvalidArguments(
                f"{', '.join(own)} is for a whole workflow: give it to the outermost chain or "
                f"group."
            )
        batch = Batch(
            kind=flow.kind,
            name=options.name,
            gate=gate,
            parent=None if parent is None else parent.pk,
            opened_at=None if gate is not None else Now(),
            created_at=Now(),
            backend=self.backend,
        )
        batch.root = batch.pk if parent is None else parent.root
        self.batches.append(batch)
        return batch

    def _follow(self, gate: UUID | None) -> None:
        """Note that something waits for this, if it is a job."""
        if gate in self._by_id:
            self._by_id[gate].has_followers = True

    def _task(self, task: Any, options: Any) -> Any:
        """The task with what a flow says of all its steps."""
        if not options.of_steps:
            return task
        key = (id(task), *options.of_steps.items())
        if key not in self._tasks:
            self._tasks[key] = task.using(**options.of_steps)
        return self._tasks[key]

    def _build(self, step: Step, options: Any) -> Job:
        task = self._task(step.task, options)
        refuse_lookalikes(task.module_path, step.args, step.kwargs)
        return build(task, step.args, step.kwargs)

    def insert(self) -> list[Job]:
        """Insert all rows in the current transaction, and send what is queued after its commit.

        Returns the jobs that this process is to run itself. Raises QueueFull and DuplicateJob.
        """
        using = self.using
        jobs = [job for _task, job in self.jobs]
        self._check_depth(jobs)
        for _name, members in groupby(sorted(jobs, key=_backend), key=_backend):
            _prepare(list(members))
        for alike in self.alike:
            _prepare(UnsavedJobs(alike.first, alike.calls))
        for start in range(0, len(self.batches), PAGE):
            Batch.objects.using(using).bulk_create(self.batches[start : start + PAGE])
        inserted = [job for task, job in self.jobs if not job.dedup_slot or self._insert(task, job)]
        plain = [job for job in inserted if not job.dedup_slot]
        for start in range(0, len(plain), PAGE):
            page = plain[start : start + PAGE]
            for job in page:
                job.enqueued_at = Now()
            Job.objects.using(using).bulk_create(page)
        for alike in self.alike:
            for start in range(0, len(alike.calls), PAGE):
                insert_calls(alike.first, alike.calls[start : start + PAGE], using)
        return self._send(inserted)

    def _insert(self, task: Any, job: Job) -> bool:
        if insert(job, self.using):
            return True
        if self.skips_duplicates:
            return False
        raise DuplicateJob(
            f"A job holds the dedup key {masked_key(task, job.dedup_key)!r} of {task.module_path}, "
            f"which is a step of this workflow. Nothing was enqueued. Take the key from the step "
            f"with .using(dedup_key=None), and give one to the workflow."
        )

    def _check_depth(self, jobs: Sequence[Job]) -> None:
        counts: dict[tuple[str, str], int] = {}
        for job in jobs:
            counts[job.backend, job.queue] = counts.get((job.backend, job.queue), 0) + 1
        for alike in self.alike:
            key = (alike.first.backend, alike.first.queue)
            counts[key] = counts.get(key, 0) + len(alike.calls)
        for (backend, queue), count in counts.items():
            check_depth(backend, queue, count, self.using)

    def _send(self, inserted: Sequence[Job]) -> list[Job]:
        tasks = {job.pk: task for task, job in self.jobs}
        rows = [(tasks[job.pk], job) for job in inserted]
        for alike in self.alike:
            # A row of its own for each costs more than the rest of it.
            if is_heard("task_enqueued") or runs_inline(alike.task) or is_limited(alike.task):
                rows += [(alike.task, job_of(alike.first, call)) for call in alike.calls]
            elif alike.first.state == State.QUEUED:
                message = message_for(alike.first)
                messages = [message._replace(job_id=call[0]) for call in alike.calls]
                push_on_commit(messages, alike.first.backend, self.using)
        ready = [(task, job) for task, job in rows if not job.gate]
        here = [job for task, job in ready if runs_inline(task)]
        away = sorted((job for task, job in ready if not runs_inline(task)), key=_backend)
        for _name, members in groupby(away, key=_backend):
            dispatch_on_commit(list(members), self.using)
        if is_heard("task_enqueued"):
            for task, job in rows:
                announce("task_enqueued", job, known_task(job.task) or task)
        return [job for job in here if job.state in (State.QUEUED, State.SCHEDULED)]


def _backend(job: Job) -> str:
    return job.backend


def _prepare(jobs: Sequence[Job]) -> None:
    backend, path = jobs[0].backend, jobs[0].task
    if carried_of(backend):
        # Those of calls that are alike have it from the first.
        carry([jobs[0]] if isinstance(jobs, UnsavedJobs) else jobs, backend, path)
    for middleware in middleware_of(backend):
        middleware.on_enqueue(jobs)


def _is_marked(flow: Flow) -> bool:
    """Whether a chain within a chain needs a batch of its own."""
    return flow.options != NO_OPTIONS


def _inherited(options: Any, outer: Any) -> Any:
    """The options of a part, with what the whole says of all steps."""
    return replace(options, **{**outer.of_steps, **options.of_steps})


def insert_elements(
    batch: OpenBatch,
    elements: Iterable[Step | Flow],
    start: Callable[[Sequence[Job], str], None] = start_on_commit,
) -> int:
    """Insert elements into a batch that is locked. Returns how many jobs they are.

    start: what becomes of those that are to run in this process.
    """
    tree = Tree(batch.row.backend, batch.using, skips_duplicates=True)
    tree.add_to(batch.row, list(elements), NO_OPTIONS)
    here = tree.insert()
    start(here, batch.using)
    return len(tree.jobs) + sum(len(alike.calls) for alike in tree.alike)
