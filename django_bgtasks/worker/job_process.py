"""Step 4, the pop: a job child takes messages, in groups where jobs are short, and runs the jobs.

Next: jobs/execute.py (5 claim, run, settle).
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from uuid import UUID

from django.db import DatabaseError, InterfaceError, connections

from ..core import clock
from ..jobs.execute import Run, claim_jobs, is_suspect, run_claimed, settle_runs
from ..ledger.claim import claim_next
from ..ledger.outages import retry_until_connected
from ..ledger.sessions import remember_new_sessions
from ..ledger.transitions import give_back, promote
from ..models import Job
from ..sandbox import isolation
from ..sandbox.connections import give_back_connections, refresh_connections
from ..sandbox.isolation import CANCEL_SIGNAL
from ..sandbox.timeouts import before_interruption, confirm_cancellation, pause_limits_by
from ..transport.names import rq_queue_name
from . import log_handlers, signals
from .batching import AHEAD, BatchSizer, Group, OverrunWatch, Prefetched
from .config import WorkerConfig
from .executors.side_by_side import Beside
from .fetcher import POP_SECONDS, Queues, Redis
from .job_log import job_line
from .once_flag import OnceFlag
from .processes import announce_process, disown_copies, resident_mib
from .shared_state import Slot

logger = logging.getLogger("django_bgtasks.worker")
POLL_SECONDS = 0.5
BURST_PROMOTE = 1000
# Exit codes by which the supervisor knows an end that is no crash.
OUT_OF_WORK, SPENT = 0, 75


class Child:
    """One job child: its loop, from the first message to the last."""

    beside: Beside

    def __init__(self, config: WorkerConfig, slot: Slot, once_flag: OnceFlag | None = None) -> None:
        self.config, self.slot = config, slot
        self.stopping, self.jobs = False, 0
        self.current: UUID | None = None
        self.sizer = BatchSizer(config.options.group_budget, max(config.group_size, AHEAD))
        self.prefetched = Prefetched()
        self.watch = OverrunWatch(self._overdue)
        self.queues = Queues(config)
        first = lambda: self.beside.first()  # noqa: E731, PLW0108 - it is made below
        self.redis = Redis(config, self.queues, self._size, first, once_flag or OnceFlag())
        self.beside = Beside(config, slot, self._settle, self._finish, self.redis.notify)
        self._counting = threading.Lock()

    def main(self) -> None:
        """Run jobs until asked to stop, recycled, or, in burst mode, out of work."""
        signals.listen(self._stop)
        # Outside of a task a cancellation comes too late to matter, and so does an alarm. They are
        # not ignored: that would be inherited by the programs that tasks start.
        for number in (CANCEL_SIGNAL, signal.SIGALRM):
            signal.signal(number, signals.heed_not)
        before_interruption(log_handlers.flush)
        announce_process(self.config.backend, "jobs")
        isolation.take(self.config.directory)
        remember_new_sessions()
        disown_copies()
        confirm_cancellation(self._is_cancelled)
        pause_limits_by(self._limits_paused)
        self.slot.works()
        spent = False
        try:
            while not self.stopping and not spent:
                # Looked at first: one that ends meanwhile may be queued again.
                alone = not len(self.beside)
                if not self.step() and self.config.burst:
                    if alone:
                        break
                    self._pause(POLL_SECONDS)
                spent = self._is_spent()
            self.beside.wait(lambda: not len(self.beside))
        finally:
            self.redis.leave()
        if spent and not self.stopping:
            sys.exit(SPENT)

    def step(self) -> bool:
        """Run the next jobs, or wait a moment for one. False if there was none."""
        ids = self.redis.pop(0 if self.config.burst else POP_SECONDS, self._jobs_left())
        if ids and self.stopping:
            # The stop came while it waited: others can begin these jobs now.
            self.redis.put_back(ids)
            return False
        if ids:
            self._run_messages(ids)
            return True
        if self.redis.suspended and self.redis.worker is not None:
            time.sleep(POLL_SECONDS)
            return False
        if self.redis.has_all() and not self.config.burst:
            return False
        return self._run_from_database()

    def _run_messages(self, ids: list[UUID]) -> None:
        """Claim and run as many at a time as a group may have; hand back what comes too late."""
        late = clock.monotonic() + self.sizer.budget
        for job_id in ids:
            self.slot.popped(job_id)
        self.prefetched.put(ids)
        while ids := self.prefetched.take(self.config.group_size):
            self._run_together(ids)
            if self.stopping or clock.monotonic() > late:
                self._put_back_ahead()

    def _put_back_ahead(self) -> None:
        ids = self.prefetched.take()
        for job_id in ids:
            self.slot.drop(job_id)
        self.redis.put_back(ids)

    def _run_together(self, ids: list[UUID]) -> None:
        jobs = claim_jobs(
            ids, self.config.worker, self.config.using, self.config.queues, self.config.backend
        )
        for job in jobs:
            self.slot.claimed(job.pk, job.claims)
        for job_id in set(ids).difference(job.pk for job in jobs):
            self._forget(job_id)
            self.sizer.ran(self.redis.source(), 0.0)
        self._run_jobs(jobs)

    def _run_jobs(self, jobs: list[Job]) -> None:
        """Begin what runs beside this thread, and run the others here."""
        suspected = any(map(is_suspect, jobs))
        if suspected:
            # They run alone, which may have to be waited for.
            self._put_back_ahead()
        here, back = self.beside.take(jobs)
        self._hand_back(back)
        if suspected:
            self.beside.wait(lambda: self.stopping or not len(self.beside))
        group = Group(here, self.sizer.budget)
        if len(here) == 1 and not self.prefetched:
            self._run_group(group)
        elif here:
            with self.watch.over(group):
                self._run_group(group)
            # What the watch had in its hands meanwhile, and could not hand back.
            self._end_group(group)
        self._share_connections()

    def _run_from_database(self) -> bool:
        """While Redis may lack messages, and at the end of a burst: the ledger has all jobs."""
        refresh_connections()
        config = self.config
        names = [name for name in self.queues.in_database() if self.beside.room_for(name) != 0]
        if config.burst:
            retry_until_connected(lambda: promote(BURST_PROMOTE, config.using), config.using)
        tried: list[UUID] = []

        def claiming(job_id: UUID) -> None:
            tried.append(job_id)
            self.slot.popped(job_id)

        claim = partial(claim_next, names, config.worker, config.using, claiming, config.backend)
        job = retry_until_connected(claim, config.using)
        for job_id in tried:
            if job is None or job_id != job.pk:
                self.slot.drop(job_id)
        if job is None:
            self._share_connections()
            if not self.config.burst:
                self._pause(POLL_SECONDS)
            return False
        self.redis.begin(job.pk, popped=False)
        self._run_jobs([job])
        return True

    def _run_group(self, group: Group) -> None:
        """Run what there is time for, settle it, and hand the rest back."""
        while not self.stopping and (job := group.begin()) is not None:
            self.slot.running(job.pk, job.claims, self._kill_at(job))
            self.current = job.pk
            run = run_claimed(job, self.config.using, grouped=True)
            self.current = None
            if run is None:
                self._forget(job.pk)
                continue
            self.slot.ended(job.pk)
            self.sizer.ran(rq_queue_name(job.queue, job.priority), run.seconds)
            group.ended(run)
        self._end_group(group)

    def _kill_at(self, job: Job) -> float:
        return clock.monotonic() + job.timeout + self.config.options.kill_after

    @contextmanager
    def _limits_paused(self, job: Job) -> Iterator[None]:
        """What comes after the settlement has as much time as the task, and is of the site too."""
        place = self.beside.place_of(job)
        place = self.slot.place_of(job.pk) if place is None else place
        if place is None:
            yield
            return
        self.slot.ended_at(place)
        yield
        self.slot.runs_at(place, job.claims, self._kill_at(job))

    def _end_group(self, group: Group) -> None:
        self._hand_back(group.take_rest())
        self._close(group.take_done())

    def _overdue(self, group: Group) -> None:
        """In the watching thread: a job takes long, and what waits behind it must not.

        One try: this thread needs a connection of its own, which a small pool may not have, and the
        thread that runs the job waits for this one afterwards.
        """
        self._put_back_ahead()
        rest, done = group.take_rest(), group.take_done()
        try:
            if rest:
                give_back(rest, self.config.using)
                self._handed_back(rest)
                rest = []
            self._close(done, patient=False)
            done = []
        except (DatabaseError, InterfaceError) as error:
            logger.debug("What waits behind a slow job was not handed back: %s", error)
            group.restore(rest, done)
        finally:
            connections[self.config.using].close()
        if group.current is not None:
            self.redis.begin(group.current.pk, popped=False)

    def _hand_back(self, jobs: list[Job]) -> None:
        if not jobs:
            return
        retry_until_connected(lambda: give_back(jobs, self.config.using), self.config.using)
        self._handed_back(jobs)

    def _handed_back(self, jobs: list[Job]) -> None:
        for job in jobs:
            self.slot.drop(job.pk)
        self.redis.put_back([job.pk for job in jobs])

    def _close(self, runs: list[Run], patient: bool = True) -> None:
        """Settle what is still open, and say what became of each job."""
        if not runs:
            return
        settled = self._settle(runs, patient)
        for run in runs:
            self.slot.drop(run.job.pk)
        self._finish([run.job.pk for run in runs], settled)

    def _settle(self, runs: list[Run], patient: bool = True) -> list[Run]:
        return settle_runs(runs, self.config.using, patient)

    def _finish(self, ids: list[UUID], settled: list[Run]) -> None:
        self.redis.finish(ids, settled)
        with self._counting:
            self.jobs += len(settled)
        for run in settled:
            logger.info("%s", job_line(run))

    def _forget(self, job_id: UUID) -> None:
        """There was nothing to claim, or the claim was lost: drop the message."""
        self.slot.drop(job_id)
        self.redis.forget(job_id)

    def _size(self, rq_queue: str) -> int:
        """How many messages of this RQ queue to take: what there is time or room for."""
        room = self.beside.room_for(rq_queue)
        return self.sizer.size(rq_queue) if room is None else min(room, self.sizer.limit)

    def _share_connections(self) -> None:
        """What runs beside may need the one that this thread had from a pool."""
        if len(self.beside):
            give_back_connections()

    def _pause(self, seconds: float) -> None:
        """Wait, not longer than until a job ends beside this thread."""
        if before := len(self.beside):
            self.beside.wait(lambda: len(self.beside) < before, seconds)
        else:
            time.sleep(seconds)

    def _jobs_left(self) -> int | None:
        return (
            None if self.config.max_jobs is None else max(1, self.config.max_jobs - self._begun())
        )

    def _begun(self) -> int:
        return self.jobs + len(self.beside)

    def _is_cancelled(self) -> bool:
        return self.current is not None and self.slot.is_cancelled(self.current)

    def _is_spent(self) -> bool:
        # Not before its first job: with a limit below what Django itself needs, jobs still run.
        if not self._begun():
            return False
        if self.config.max_jobs is not None and self._begun() >= self.config.max_jobs:
            logger.info("This child has run %d jobs and is replaced.", self._begun())
            return True
        if self.config.max_memory is not None and (held := resident_mib()) > self.config.max_memory:
            logger.info("This child holds %.0f MiB and is replaced.", held)
            return True
        if isolation.is_worn():
            logger.warning(
                "A task has left this child with lower limits or nearly without descriptors: it is "
                "replaced."
            )
            return True
        return False

    def _stop(self, signum: int, frame: FrameType | None) -> None:
        self.stopping = True
        # What is killed when the grace is over writes nothing any more.
        log_handlers.flush()
