"""Groups: short jobs are claimed together, run one after another, and settled together."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from uuid import UUID

from ..core import clock
from ..jobs.execute import Run
from ..ledger.sessions import run_no_tasks_here
from ..models import Job

logger = logging.getLogger("django_bgtasks.worker")
# How much of the past counts after one more job.
MEMORY = 0.8
# So many messages of short jobs may come in one trip to Redis, however few are claimed at once.
AHEAD = 10


class BatchSizer:
    """How many messages of an RQ queue to take at once: as many as fit into the budget.

    budget: seconds. limit: messages; with 1 there are no groups.
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


class Prefetched:
    """Messages that were popped and are not claimed yet: whoever takes one has it alone."""

    def __init__(self) -> None:
        self._ids: deque[UUID] = deque()

    def __bool__(self) -> bool:
        return bool(self._ids)

    def put(self, ids: Iterable[UUID]) -> None:
        """These were popped, in this order."""
        self._ids.extend(ids)

    def take(self, count: int | None = None) -> list[UUID]:
        """Take the first of them, at most `count`; all without it."""
        taken: list[UUID] = []
        with suppress(IndexError):
            while count is None or len(taken) < count:
                taken.append(self._ids.popleft())
        return taken


class Group:
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
        """A job of the group has run."""
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
        """Put back what was taken away: whoever runs the group deals with it."""
        with self._lock:
            self._waiting.extendleft(reversed(rest))
            self._done[:0] = done


class OverrunWatch:
    """A thread that calls `overdue(group)` when a job takes its group beyond the deadline.

    The job goes on; the others must not wait for it.
    """

    def __init__(self, overdue: Callable[[Group], None]) -> None:
        self._overdue = overdue
        self._group: Group | None = None
        self._wake, self._acting = threading.Event(), threading.Lock()
        self._thread: threading.Thread | None = None

    @contextmanager
    def over(self, group: Group) -> Iterator[None]:
        """OverrunWatch this group in the block."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
            self._thread.start()
        self._group = group
        if not self._wake.is_set():
            self._wake.set()
        try:
            yield
        finally:
            # If it is at work just now, wait for it: it takes this group's jobs out of our hands.
            with self._acting:
                self._group = None

    def _run(self) -> None:
        run_no_tasks_here()
        while True:
            self._wake.wait()
            group = self._group
            if group is None:
                self._wake.clear()
                # A group that came between the look and the clear.
                if self._group is not None:
                    self._wake.set()
            elif (left := group.deadline - clock.monotonic()) > 0:
                # It need not be woken at the end of each group: it looks again soon.
                time.sleep(left)
            else:
                self._act(group)

    def _act(self, group: Group) -> None:
        with self._acting:
            if self._group is not group:
                return
            self._group = None
            try:
                self._overdue(group)
            except Exception:
                logger.exception("What waits behind a slow job could not be handed back.")
