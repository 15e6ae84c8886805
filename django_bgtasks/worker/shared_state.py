"""Shared memory that shows the supervisor which jobs each job process has, and until when they run.

One job process writes it, the supervisor and maintenance read it; only the wish to cancel goes the
other way. The state byte is written last when a job is put in, so that an entry that says something
is complete whenever its process dies. From before the claim until after the settlement an entry
names the job without a gap: a claim that no shared state shows is nobody's, and is released.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from math import inf
from uuid import UUID

FREE, POPPED, CLAIMED, RUNNING, ENDED = 0, 1, 2, 3, 4
# The job's id, its claim, when it is killed; the state, and which job is to be cancelled.
_BODY = struct.Struct("=16sId")
_NUMBER, _CLAIM = struct.Struct("=I"), struct.Struct("=Id")
_CLAIM_AT, _STATE_AT, _CANCEL_AT = 16, 28, 32
SIZE = 48
# As many as a batch, those that take the places of its jobs, an event loop and the threads of a job
# process hold together at most.
ENTRIES = 640
# Behind the entries: whether the job process has come to its work.
_WORKS_AT = SIZE * ENTRIES


@dataclass(frozen=True, slots=True)
class HeldJob:
    """A job in a job process's hands.

    claim: its number; 0 while it is being claimed. begun: whether its task runs or has run.
    running: whether it runs. kill_at: monotonic time at which the supervisor ends it then.
    """

    job_id: UUID
    claim: int
    begun: bool
    kill_at: float
    running: bool


class SharedState:
    """One job process's memory that its supervisor shares: an entry for each job it holds."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _WORKS_AT + 1)
        self._free = list(range(ENTRIES))
        self._entries: dict[UUID, int] = {}

    def works(self) -> None:
        """The job process has started, and looks for jobs from now on."""
        self._memory[_WORKS_AT] = 1

    @property
    def has_worked(self) -> bool:
        """Whether the job process has come so far."""
        return bool(self._memory[_WORKS_AT])

    def popped(self, job: UUID) -> None:
        """A message was popped: its job is about to be claimed."""
        entry = self._entries.get(job)
        if entry is None:
            entry = self._entries[job] = self._free.pop()
        start = entry * SIZE
        # With no time of a kill: it may be read beside the RUNNING of the job before it.
        _BODY.pack_into(self._memory, start, job.bytes, 0, inf)
        # A wish to cancel the same job that is left from its last run here is not about this one.
        self._memory[start + _CANCEL_AT : start + SIZE] = bytes(SIZE - _CANCEL_AT)
        self._memory[start + _STATE_AT] = POPPED

    def claimed(self, job: UUID, claim: int) -> None:
        """The job is claimed, and its task has not begun."""
        start = self._entries[job] * SIZE
        # Not by way of FREE, and the id stays as it is: the claim stands already.
        _NUMBER.pack_into(self._memory, start + _CLAIM_AT, claim)
        self._memory[start + _STATE_AT] = CLAIMED

    def running(self, job: UUID, claim: int, kill_at: float) -> None:
        """The job's task begins."""
        self.runs_at(self._entries[job], claim, kill_at)

    def ended(self, job: UUID) -> None:
        """The job's task has run, and its outcome is still to be written."""
        self.ended_at(self._entries[job])

    def entry_of(self, job: UUID) -> int | None:
        """The entry of a job that no other thread has been given; None if it is not held."""
        return self._entries.get(job)

    def drop(self, job: UUID) -> None:
        """The job is settled, or somebody else's."""
        entry = self._entries.pop(job, None)
        if entry is not None:
            self.free(entry)

    def detach(self, job: UUID) -> int:
        """The claimed job is another thread's from now on, which knows it by this entry.

        A second message of the same job gets an entry of its own, and does not touch this one.
        """
        return self._entries.pop(job)

    def runs_at(self, entry: int, claim: int, kill_at: float) -> None:
        """The task of the job in this entry begins, or may go on for longer."""
        start = entry * SIZE
        _CLAIM.pack_into(self._memory, start + _CLAIM_AT, claim, kill_at)
        self._memory[start + _STATE_AT] = RUNNING

    def ended_at(self, entry: int) -> None:
        """The task of the job in this entry has run, and its outcome is still to be written.

        If the process dies now the attempt is charged: what could be repeated for free would be
        repeated for ever. The time of the kill stays, for it may be read beside RUNNING.
        """
        self._memory[entry * SIZE + _STATE_AT] = ENDED

    def free(self, entry: int) -> None:
        """The job in this entry is settled, or somebody else's."""
        self._memory[entry * SIZE + _STATE_AT] = FREE
        self._free.append(entry)

    def clear(self) -> None:
        """Hold nothing, as a job process that has just started."""
        self._memory[:] = bytes(_WORKS_AT + 1)
        self._free, self._entries = list(range(ENTRIES)), {}

    def read(self) -> list[HeldJob]:
        """The jobs that the job process holds."""
        states = self._memory[_STATE_AT::SIZE]
        return [self._held_job(entry, state) for entry, state in enumerate(states) if state]

    def cancel(self, job: UUID) -> None:
        """Written by the supervisor: this job is to be cancelled."""
        for entry in range(ENTRIES):
            start = entry * SIZE
            if self._memory[start : start + 16] == job.bytes:
                self._memory[start + _CANCEL_AT : start + SIZE] = job.bytes

    def is_cancelled(self, job: UUID) -> bool:
        """Whether this job, which the job process holds, is to be cancelled."""
        entry = self._entries.get(job)
        return entry is not None and self.is_cancelled_at(entry)

    def is_cancelled_at(self, entry: int) -> bool:
        """Whether the job in this entry is to be cancelled."""
        start = SIZE * entry
        to_cancel: bytes = self._memory[start + _CANCEL_AT : start + SIZE]
        return to_cancel == self._memory[start : start + 16]

    def _held_job(self, entry: int, state: int) -> HeldJob:
        job, claim, kill_at = _BODY.unpack_from(self._memory, entry * SIZE)
        return HeldJob(UUID(bytes=job), claim, state >= RUNNING, kill_at, state == RUNNING)
