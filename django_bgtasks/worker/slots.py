"""Shared memory that tells the arbiter which job each child runs, and until when it may.

One child writes a slot, the arbiter and upkeep read it; only the wish to cancel goes the other way.
The state byte is written last when a job begins and first when it ends, so that a slot that says
"running" is complete whenever its child dies. From before the claim until after the settlement the
slot names the job without a gap: a claim that no slot shows is nobody's, and is released.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from uuid import UUID

IDLE, CLAIMING, RUNNING = 0, 1, 2
_BODY = struct.Struct("=16sId")
_BODY_AT = 8
_CLAIM = struct.Struct("=Id")
_CLAIM_AT = _BODY_AT + 16
_CANCEL_AT = 48
SIZE = 64


@dataclass(frozen=True, slots=True)
class Held:
    """The job in a child's hands.

    claim: its number. begun: False while it is being claimed. kill_at: monotonic time at which
    the arbiter ends it.
    """

    job: UUID
    claim: int
    begun: bool
    kill_at: float


class Slot:
    """The place of one child in memory shared with its arbiter."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, SIZE)

    def claiming(self, job: UUID) -> None:
        """A message was popped: its job is about to be claimed."""
        self._memory[0] = IDLE
        _BODY.pack_into(self._memory, _BODY_AT, job.bytes, 0, 0.0)
        self._memory[0] = CLAIMING

    def running(self, job: UUID, claim: int, kill_at: float) -> None:
        """The job that was being claimed is claimed, and its task begins."""
        # Not by way of IDLE, and the id stays as it is: the claim stands already.
        _CLAIM.pack_into(self._memory, _CLAIM_AT, claim, kill_at)
        self._memory[0] = RUNNING

    def clear(self) -> None:
        """The job is settled."""
        self._memory[0] = IDLE

    def read(self) -> Held | None:
        """The job that the child holds, if any."""
        state = self._memory[0]
        if state == IDLE:
            return None
        job, claim, kill_at = _BODY.unpack_from(self._memory, _BODY_AT)
        return Held(UUID(bytes=job), claim, state == RUNNING, kill_at)

    def cancel(self, job: UUID) -> None:
        """Written by the arbiter: this job is to be cancelled."""
        self._memory[_CANCEL_AT:SIZE] = job.bytes

    def is_cancelled(self) -> bool:
        """Whether the job in this slot is the one that is to be cancelled."""
        return self._memory[_CANCEL_AT:SIZE] == self._memory[_BODY_AT : _BODY_AT + 16]

    def close(self) -> None:
        """Give the memory back."""
        self._memory.close()
