"""What holds of the rows of workflows, at any moment and at the end."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from uuid import UUID

from django_bgtasks.core.flows import CALLBACKS
from django_bgtasks.core.states import FINAL
from django_bgtasks.ledger.batches import GATE_PASSED, SKIP_CODES
from django_bgtasks.models import Batch, Job

UNSUCCESSFUL = ("failed", "cancelled")


class Rows:
    """All batches and jobs as they are now.

    changed: the workflows in which somebody has retried or deleted something, by their roots: what
    has happened before does not show any more in the states of their jobs.
    """

    def __init__(self, changed: Collection[UUID] = ()) -> None:
        self.batches = {row.pk: row for row in Batch.objects.all()}
        self.jobs = {row.pk: row for row in Job.objects.exclude(batch=None, gate=None)}
        self.changed = changed

    def faults(self) -> list[str]:
        """What must never be."""
        return [*self._of_batches(), *self._of_gates()]

    def _of_batches(self) -> Iterator[str]:
        for batch in self.batches.values():
            if batch.finished_at is None:
                if batch.opened_at is None and self._is_over(batch.gate):
                    yield f"{batch.pk} is not open, and its gate is over"
                continue
            for job in self.members(batch):
                if job.state not in FINAL:
                    yield f"{batch.pk} is {batch.outcome} with {job.pk}, which is {job.state}"
            for part in self.parts(batch):
                if part.finished_at is None:
                    yield f"{batch.pk} is {batch.outcome} with {part.pk}, which is open"

    def _of_gates(self) -> Iterator[str]:
        for job in self.jobs.values():
            batch = self.batches.get(job.batch) if job.batch else None
            if job.waits_for == "gate":
                if self._is_over(job.gate) or self._has_failed(job):
                    yield f"{job.pk} waits for {job.gate}, which is over"
            elif job.state not in FINAL:
                if batch is not None and batch.opened_at is None:
                    yield f"{job.pk} is {job.state} in {batch.pk}, which is not open"
                if job.gate_on in ("next", "success") and not self._has_succeeded(job.gate):
                    yield f"{job.pk} is {job.state} before {job.gate} has succeeded"

    def _is_over(self, gate: UUID | None) -> bool:
        if gate in self.batches:
            return self.batches[gate].finished_at is not None
        return gate not in self.jobs or self.jobs[gate].state in FINAL

    def _has_failed(self, job: Job) -> bool:
        batch = self.batches.get(job.gate) if job.gate else None
        if batch is None or job.gate_on != "failure":
            return False
        is_open = batch.opened_at is not None and batch.cancelled_at is None
        return is_open and batch.failed_at is not None

    def _has_succeeded(self, gate: UUID | None) -> bool:
        if gate in self.batches:
            return self.batches[gate].outcome == "succeeded"
        return gate not in self.jobs or self.jobs[gate].state == "succeeded"

    def members(self, batch: Batch) -> list[Job]:
        """The jobs of a batch, and the callbacks of its parts."""
        return [job for job in self.jobs.values() if job.batch == batch.pk]

    def parts(self, batch: Batch) -> list[Batch]:
        """The batches that are elements of a batch."""
        return [row for row in self.batches.values() if row.parent == batch.pk]

    def faults_at_the_end(self) -> list[str]:
        """What must not be when nothing runs any more."""
        return [*self.faults(), *self._left(), *self._wrong_outcomes(), *self._wrong_callbacks()]

    def _left(self) -> Iterator[str]:
        for batch in self.batches.values():
            if batch.finished_at is None:
                yield f"{batch.pk} is open"
        for job in self.jobs.values():
            if job.state not in FINAL:
                yield f"{job.pk} is {job.state}"

    def _wrong_outcomes(self) -> Iterator[str]:
        for batch in self.batches.values():
            if batch.outcome == "skipped":
                # As what it has waited for was.
                ran = [job.pk for job in self.members(batch) if job.state == "succeeded"]
                is_there = batch.gate in self.batches or batch.gate in self.jobs
                if ran or (is_there and self._has_succeeded(batch.gate)):
                    yield f"{batch.pk} is skipped, and {ran} ran behind {batch.gate}"
            elif batch.root not in self.changed and batch.outcome != self._expected(batch):
                yield f"{batch.pk} is {batch.outcome} and not {self._expected(batch)}"

    def _expected(self, batch: Batch) -> str:
        if batch.cancelled_at is not None:
            return "cancelled"
        failed = [
            job
            for job in self.members(batch)
            if job.state in UNSUCCESSFUL and job.error_code != GATE_PASSED
        ]
        parts = [part for part in self.parts(batch) if part.outcome != "succeeded"]
        return "failed" if failed or parts else "succeeded"

    def _wrong_callbacks(self) -> Iterator[str]:
        for job in self.jobs.values():
            batch = self.batches.get(job.gate) if job.gate else None
            if batch is None or job.gate_on not in CALLBACKS:
                continue
            was_skipped = job.error_code in SKIP_CODES
            if job.state == "cancelled" and not was_skipped:
                # By a person, or it has expired.
                continue
            expected = self._runs(batch, job.gate_on)
            if expected is not None and expected == was_skipped:
                verb = "was skipped" if was_skipped else "ran"
                yield f"on {job.gate_on} of {batch.pk}, {batch.outcome}: {job.pk} {verb}"

    def _runs(self, batch: Batch, end: str) -> bool | None:
        """Whether a callback of this end runs; None for either."""
        if batch.outcome == "skipped":
            return None if batch.root in self.changed else False
        if end == "end":
            return True
        if end == "success":
            return batch.outcome == "succeeded"
        if batch.outcome == "failed":
            return True
        # It may have failed before it was cancelled, or before it was retried.
        return None if batch.outcome == "cancelled" or batch.root in self.changed else False
