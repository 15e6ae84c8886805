"""The pure model of a job's row: what each write must have made of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from django_bgtasks.core.retry import MAX_CRASHES
from django_bgtasks.core.states import FINAL, WAITING, State, Transition


@dataclass
class Expected:
    """One job. slot: the task and key that it may hold; holds: whether it does."""

    task: str
    slot: tuple[str, str] | None
    scope: str
    state: State
    maximum: int
    attempt: int = 0
    claims: int = 0
    crashes: int = 0
    holds: bool = False
    window_open: bool = True
    asked_to_stop: bool = False
    worker: UUID | None = None

    def move(self, name: str) -> None:
        """Make a transition."""
        transition = Transition[name.upper()]
        assert self.state in transition.sources, f"{name} from {self.state}"
        self.state = transition.target


@dataclass
class Ledger:
    """All jobs, in the order of their enqueueing."""

    jobs: dict[UUID, Expected] = field(default_factory=dict)

    def holder(self, slot: tuple[str, str] | None) -> UUID | None:
        """Who holds a key; the expired window of a job that has ended holds nothing."""
        for pk, job in self.jobs.items():
            if slot is not None and job.slot == slot and job.holds and not self._is_over(job):
                return pk
        return None

    def _is_over(self, job: Expected) -> bool:
        return job.state in FINAL and not (job.scope == "window" and job.window_open)

    def take(self, pk: UUID) -> None:
        """Take the key of a job for it, from one whose window is over too."""
        for other in self.jobs.values():
            if other.slot == self.jobs[pk].slot:
                other.holds = False
        self.jobs[pk].holds = self.jobs[pk].slot is not None

    def claim(self, pk: UUID, worker: UUID) -> None:
        """A worker claims a queued job."""
        job = self.jobs[pk]
        job.move("claim")
        job.attempt += 1
        job.claims += 1
        job.worker = worker
        if job.scope == "queued":
            job.holds = False

    def settle(self, pk: UUID, move: str, charged: bool = True) -> None:
        """The attempt of a running job ends."""
        job = self.jobs[pk]
        job.move(move)
        job.attempt -= not charged
        if job.state in WAITING and job.scope == "queued" and self.holder(job.slot) is None:
            self.take(pk)
        self._end(job)

    def _end(self, job: Expected) -> None:
        if job.state in FINAL:
            job.holds = job.holds and job.scope == "window" and job.window_open

    def cancel(self, pk: UUID) -> None:
        """Somebody cancels a job that is not final."""
        job = self.jobs[pk]
        job.asked_to_stop = True
        if job.state != State.RUNNING:
            job.move("cancel_waiting")
            self._end(job)

    def retry(self, pk: UUID) -> None:
        """Somebody queues a failed or cancelled job again."""
        job = self.jobs[pk]
        job.move("retry")
        job.asked_to_stop = False
        job.maximum = max(job.maximum, job.attempt + 1)
        self.take(pk)

    def raised(self, pk: UUID, delayed: bool = False) -> str:
        """The move for an exception of the task."""
        job = self.jobs[pk]
        if job.attempt >= job.maximum:
            return "fail"
        return "retry_at" if delayed else "retry_now"

    def died(self, pk: UUID, why: str) -> None:
        """The process of a running job is dead."""
        job = self.jobs[pk]
        careful = job.task == "careful"
        if why == "unbegun":
            self.settle(pk, "release", charged=False)
        elif why == "cancelled" or job.asked_to_stop:
            self.settle(pk, "cancel_running")
        elif why == "timeout":
            self.settle(pk, self.raised(pk))
        elif why == "interrupted" and not careful:
            self.settle(pk, "release", charged=False)
        else:
            job.crashes += 1
            last = careful or job.attempt >= job.maximum or job.crashes >= MAX_CRASHES
            self.settle(pk, "fail" if last else "retry_now")

    def windows_end(self) -> None:
        """The time is over for which keys were taken."""
        for job in self.jobs.values():
            job.window_open = False

    def release_windows(self) -> None:
        """Maintenance frees the keys of ended jobs whose window is over."""
        for job in self.jobs.values():
            self._end(job)
