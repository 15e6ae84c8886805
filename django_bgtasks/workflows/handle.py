"""A workflow as the one who has enqueued it sees it: its progress, and what can be done to it."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from uuid import UUID

from asgiref.sync import sync_to_async

from ..jobs.results import pauses
from ..ledger.lifecycle import ledger_database
from ..models import Batch
from .actions import cancel_batch, retry_batch
from .progress import BatchProgress, progress_of_batch
from .results import read_result


class BatchHandle:
    """A batch and all that is a part of it.

    id: of its row. deduplicated: the call did not make it; an earlier one holds its dedup key.
    """

    def __init__(self, row: Batch, using: str, deduplicated: bool = False) -> None:
        self.id, self.using, self.deduplicated = row.pk, using, deduplicated

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"

    @property
    def batch(self) -> Batch:
        """Its row, read now. Raises Batch.DoesNotExist if it was pruned meanwhile."""
        return Batch.objects.using(self.using).get(pk=self.id)

    @property
    def outcome(self) -> str:
        """Read now: "succeeded", "failed", "cancelled" or "skipped", and "" while it is open."""
        return self.batch.outcome

    @property
    def result(self) -> Any:
        """What the last step of a chain returned, or a list of what the jobs of a group returned;
        None for one that has not succeeded.
        """
        return read_result(self.id, self.using)

    def progress(self) -> BatchProgress:
        """Its jobs, counted now by their states, those of its parts included."""
        return progress_of_batch(self.batch, self.using)

    def cancel(self) -> int:
        """Cancel it: see cancel_batch()."""
        return cancel_batch(self.id, self.using)

    def retry_failed(self) -> int:
        """Retry what has failed or was cancelled: see retry_batch()."""
        return retry_batch(self.id, self.using)

    def wait(self, timeout: float | None = None) -> str:
        """Wait until all of its jobs have ended, and return its outcome, as `outcome` gives it.

        timeout: seconds; TimeoutError if it is still open then. Its callbacks may run still. In a
        transaction its jobs could not even begin.
        """
        for pause in pauses(f"Batch {self.id}", timeout):
            if outcome := self.outcome:
                break
            time.sleep(pause)
        return outcome

    async def await_outcome(self, timeout: float | None = None) -> str:
        """wait(); the event loop goes on meanwhile."""
        for pause in pauses(f"Batch {self.id}", timeout):
            if outcome := await sync_to_async(lambda: self.outcome, thread_sensitive=True)():
                break
            await asyncio.sleep(pause)
        return outcome


def get_batch(batch_id: UUID | str, using: str | None = None) -> BatchHandle:
    """The handle of a workflow, or of a part of it, by its id; Batch.DoesNotExist if it is none.

    Its row is `.batch`.
    """
    using = using or ledger_database()
    row = Batch.objects.using(using).filter(pk=batch_id).first()
    if row is None:
        raise Batch.DoesNotExist(f"There is no workflow {batch_id}: it may have been pruned.")
    return BatchHandle(row, using)
