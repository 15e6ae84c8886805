"""A batch to which jobs can still be added: by its own jobs while they run, or where it is made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from django.db import transaction

from ..core.errors import BatchClosed, InvalidArguments
from ..core.flows import Flow, GateOn, Step
from ..core.states import State, WaitsFor
from ..ledger.batch_moves import join
from ..models import Batch, BatchKind, Job

Element = Step | Flow
# Inserts elements into the batch, in the current transaction; how many jobs they are.
Insert = Callable[["OpenBatch", list[Element]], int]


class OpenBatch:
    """A batch that grows.

    id: of its row. adder: the running job that adds to it; None where the batch is made by the
    current transaction.
    """

    def __init__(self, row: Batch, adder: Job | None, insert: Insert, using: str) -> None:
        self.id, self.adder, self.using = row.pk, adder, using
        self._row, self._insert = row, insert
        # Whether jobs can be added still; a `with` block ends it.
        self.is_open = True

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._row.name or self.id}>"

    def __getitem__(self, name: str) -> OpenBatch:
        """The batch of this name in the same workflow; first of all one that is a part of this one.

        Raises KeyError if there is none, or more than one.
        """
        rows = Batch.objects.using(self.using).filter(root=self._row.root, name=name)
        found = list(rows.filter(parent=self.id)[:2]) or list(rows[:2])
        if len(found) != 1:
            count = "no batch" if not found else "more than one batch"
            raise KeyError(f"{count} named {name!r} in the workflow of batch {self.id}")
        return OpenBatch(found[0], self.adder, self._insert, self.using)

    def add(self, *elements: Element | Iterable[Element]) -> int:
        """Add steps, chains and groups: they begin when the current transaction has committed, or
        when the batch begins. Returns how many jobs they are.

        A job of the workflow can add while it runs, and then the batch waits for what it has added.
        An attempt that is repeated adds again: give such steps a dedup key, or add within one
        transaction at the end. Raises BatchClosed if the batch is finished or cancelled, ClaimLost
        if the job is no longer this attempt's, InvalidArguments for what is no step.
        """
        flat = elements_of(elements)
        if not flat:
            return 0
        with self.locked():
            return self._insert(self, flat)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """A transaction in which the batch stays open. See add() for what it raises."""
        if not self.is_open:
            raise BatchClosed(
                f"Batch {self.id} takes no more jobs: its `with` block has ended. Only its own "
                f"jobs can add to it, while they run, by context.batch.add()."
            )
        if self._row.kind == BatchKind.CHAIN:
            raise InvalidArguments(
                "A chain does not grow, as its steps have an order. Add to a group in it: "
                "chain(..., group(name='parts'), ...) and context.batch['parts'].add(...)."
            )
        with transaction.atomic(self.using):
            self._row = join(self.id, self.adder, self.using)
            yield

    def put(self, job: Job) -> None:
        """Make a new job, before it is inserted, one of this batch, which is locked."""
        job.batch = self.id
        if self._row.opened_at is None:
            wait_at_gate(job, self._row.gate, GateOn.NEXT)

    @property
    def row(self) -> Batch:
        """Its row, as it was when it was read last."""
        return self._row


def wait_at_gate(job: Job, gate: UUID | None, end: GateOn) -> None:
    """Let a new job wait for this end of a job or batch; it has none to wait for without a gate."""
    if gate is not None:
        job.gate, job.gate_on = gate, end.value
        job.state, job.waits_for = State.BLOCKED, WaitsFor.GATE.value


def elements_of(values: Iterable[Any]) -> list[Element]:
    """The steps and flows among these values and in those of them that are iterable.

    Raises InvalidArguments for anything else.
    """
    found: list[Element] = []
    for value in values:
        if isinstance(value, Step | Flow):
            found.append(value)
        elif isinstance(value, Iterable) and not isinstance(value, str | bytes):
            found += elements_of(value)
        else:
            raise InvalidArguments(
                f"A workflow is made of steps, chains and groups, not of {value!r}. A step is "
                f"task.step(...) with the arguments of the call."
            )
    return found
