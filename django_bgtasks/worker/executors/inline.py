"""Short jobs run in the main thread: claimed together, run one after another, settled together."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from uuid import UUID

from django.db import DatabaseError, InterfaceError, connections

from ...core import clock
from ...jobs.execute import Run, run_claimed
from ...jobs.waiting import seconds_until_start
from ...ledger.connection import run_no_tasks_here
from ...models import Job
from ...transport.messages import rq_queue_name
from ..config import WorkerConfig
from ..shared_state import SharedState
from . import Executor, Settler

logger = logging.getLogger("django_bgtasks.worker")
# How much of the past counts after one more job.
MEMORY = 0.8
# So many messages of short jobs may come in one trip to Redis, however few are claimed at once.
PREFETCH = 10


class InlineExecutor(Executor):
    """Runs a batch of jobs in the main thread, as many as its budget of time allows.

    Where a job takes longer, a thread hands back what waits behind it.
    """

    def __init__(self, config: WorkerConfig, shared: SharedState, settler: Settler) -> None:
        self._config, self._shared, self._settler = config, shared, settler
        self.sizer = BatchSizer(config.options.group_budget, max(config.group_size, PREFETCH))
        self.prefetched = Prefetched()
        self._watch = OverrunWatch(settler, self.prefetched)
        self._batch = Round((), 0.0)
        self._stopping = False

    def capacity(self, rq_queue: str) -> int:
        return self.sizer.size(rq_queue)

    def submit(self, jobs: list[Job]) -> list[Job]:
        """Run these claimed jobs. Returns those for which there was no time.

        unwatch() is to follow when what has run is settled.
        """
        batch = self._batch = Round(jobs, self.sizer.budget)
        if len(jobs) > 1 or self.prefetched:
            self._watch.begin(batch)
        shared, config = self._shared, self._config
        while not self._stopping and (job := batch.begin()) is not None:
            kill_at = clock.monotonic() + job.timeout + config.options.kill_after
            shared.running(job.pk, job.claims, kill_at)
            if job.seat_taken is not None:
                # Its batch does not use the time until its start.
                batch.deadline += seconds_until_start(job)
            run = run_claimed(job, config.using, grouped=True)
            if run is None:
                self._settler.forget(job.pk)
                continue
            shared.ended(job.pk)
            self.sizer.ran(rq_queue_name(job.queue, job.priority), run.seconds)
            batch.ended(run)
        batch.current = None
        return batch.take_rest()

    def completed(self) -> list[Run]:
        """What has run since it was asked last."""
        return self._batch.take_done()

    def unwatch(self) -> list[Job]:
        """Let the batch go. Returns the jobs that the watch took and could not hand back."""
        return self._batch.take_rest() if self._watch.end() else []

    def stop(self) -> None:
        """Begin no more jobs. It may be called in a signal handler."""
        self._stopping = True

    def is_cancelled(self) -> bool:
        """Whether the job that runs now is to be cancelled."""
        job = self._batch.current
        return job is not None and self._shared.is_cancelled(job.pk)


class BatchSizer:
    """How many messages of an RQ queue to take at once: as many as fit into the budget.

    budget: seconds. limit: messages; with 1 there are no batches.
    """

    def __init__(self, budget: float, limit: int) -> None:
        self.budget, self.limit = budget, limit
        self._recent: dict[str, float] = {}

    def size(self, rq_queue: str) -> int:
        """One, until the queue's recent jobs have shown that they are short."""
        seconds = self._recent.get(rq_queue)
        if seconds is None:
            return 1
        return max(1, min(self.limit, int(self.budget / max(seconds, 1e-6))))

    def ran(self, rq_queue: str, seconds: float) -> None:
        """A job of this queue ran so long: a slow one counts at once, fast ones by and by."""
        recent = self._recent.get(rq_queue, seconds)
        self._recent[rq_queue] = max(seconds, MEMORY * recent + (1 - MEMORY) * seconds)


class Prefetched(deque[UUID]):
    """Messages that were popped and are not claimed yet: whoever takes one has it alone."""

    def take(self, count: int | None = None) -> list[UUID]:
        """Take the first of them, at most `count`; all without it."""
        ids: list[UUID] = []
        with suppress(IndexError):
            while count is None or len(ids) < count:
                ids.append(self.popleft())
        return ids


class Round:
    """Jobs claimed together. One thread runs them; what it has not begun may be taken away."""

    def __init__(self, jobs: Iterable[Job], budget: float) -> None:
        self.deadline = clock.monotonic() + budget
        self.current: Job | None = None
        self._waiting, self._done = deque(jobs), list[Run]()
        self._lock = threading.Lock()

    def begin(self) -> Job | None:
        """The next job to run; None when there is none, or no time for one more."""
        with self._lock:
            late = self.current is not None and clock.monotonic() > self.deadline
            self.current = self._waiting.popleft() if self._waiting and not late else None
            return self.current

    def ended(self, run: Run) -> None:
        """A job of the batch has run."""
        with self._lock:
            self._done.append(run)

    def take_rest(self) -> list[Job]:
        """Take away what has not begun."""
        with self._lock:
            rest = list(self._waiting)
            self._waiting.clear()
            return rest

    def take_done(self) -> list[Run]:
        """Take what has run and is not settled."""
        with self._lock:
            done, self._done = self._done, []
            return done

    def restore(self, rest: list[Job], done: list[Run]) -> None:
        """Put back what was taken away: whoever runs the batch deals with it."""
        with self._lock:
            self._waiting.extendleft(reversed(rest))
            self._done[:0] = done


class OverrunWatch:
    """A thread that relieves a batch when a job takes it beyond its deadline.

    The job goes on; the others must not wait for it.
    """

    def __init__(self, settler: Settler, prefetched: Prefetched) -> None:
        self._settler, self._prefetched = settler, prefetched
        self._batch: Round | None = None
        self._is_watching = False
        self._wake, self._acting = threading.Event(), threading.Lock()
        self._thread: threading.Thread | None = None

    def begin(self, batch: Round) -> None:
        """Watch over this batch until end()."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
            self._thread.start()
        self._batch, self._is_watching = batch, True
        if not self._wake.is_set():
            self._wake.set()

    def end(self) -> bool:
        """Watch no longer. False if there was no batch to watch."""
        if not self._is_watching:
            return False
        # If it is at work just now, wait for it: it takes this batch's jobs out of our hands.
        with self._acting:
            self._batch, self._is_watching = None, False
        return True

    def relieve(self, batch: Round) -> None:
        """Hand back what waits behind the job that runs, and settle what has run before it.

        One try: this thread needs a connection of its own, which a small pool may not have, and the
        thread that runs the job waits for this one afterwards.
        """
        settler = self._settler
        settler.put_back(self._prefetched.take())
        rest, done = batch.take_rest(), batch.take_done()
        try:
            if rest:
                settler.hand_back(rest, patient=False)
                rest = []
            settler.settle(done, patient=False)
            done = []
        except (DatabaseError, InterfaceError) as error:
            logger.debug("What waits behind a slow job was not handed back: %s", error)
            batch.restore(rest, done)
        finally:
            connections[settler.using].close()
        if batch.current is not None:
            settler.fetcher.begin(batch.current.pk)

    def _run(self) -> None:
        run_no_tasks_here()
        while True:
            self._wake.wait()
            batch = self._batch
            if batch is None:
                self._wake.clear()
                # A batch that came between the look and the clear.
                if self._batch is not None:
                    self._wake.set()
            elif (left := batch.deadline - clock.monotonic()) > 0:
                # It need not be woken at the end of each batch: it looks again soon.
                time.sleep(left)
            else:
                self._act(batch)

    def _act(self, batch: Round) -> None:
        with self._acting:
            if self._batch is not batch:
                return
            self._batch = None
            try:
                self.relieve(batch)
            except Exception:
                logger.exception("What waits behind a slow job could not be handed back.")
