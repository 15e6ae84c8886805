"""Jobs that run beside the main thread of a child: coroutines on a loop, functions in threads.

The main thread begins them. A thread of their own, the keeper, settles what has run, in groups, and
sees to their limits. Each has its own claim, its own place in the slot, its own timeout and
cancellation.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from inspect import iscoroutinefunction
from math import inf
from uuid import UUID

from ..core import clock
from ..core.errors import TaskNotFound
from ..core.registry import find_task
from ..flow.awaited import Awaited
from ..flow.execute import Run
from ..flow.thread_limits import strike_overdue
from ..models import Job
from ..transport.messages import rq_queue_name
from .loop import Loop
from .plan import Plan
from .slots import Slot
from .threads import Threaded, Threads

logger = logging.getLogger("django_bgtasks.worker")
LOOP, THREADS = "loop", "threads"
LOOK_EVERY = 0.2
Aside = Awaited | Threaded


class Beside:
    """What runs beside the main thread, and how much more of it there is room for.

    close: settles runs that have ended. forget: drops the message of a job whose claim was lost.
    notify: called after either.
    """

    def __init__(
        self,
        plan: Plan,
        slot: Slot,
        close: Callable[[list[Run]], None],
        forget: Callable[[UUID], None],
        notify: Callable[[], None],
    ) -> None:
        self._slot, self._close, self._forget, self._notify = slot, close, forget, notify
        self._kill_after = plan.options.kill_after
        self._most = {LOOP: plan.async_concurrency, THREADS: plan.threads}
        self._alias, self._loop, self._threads = plan.alias, Loop(), Threads()
        # Of each task, and of each queue the kind of its last job.
        self._kinds: dict[str, str | None] = {}
        self._queues: dict[str, str | None] = {}
        self._running: dict[UUID, tuple[str, Aside, float]] = {}
        self._ended: list[Aside] = []
        self._changed = threading.Condition()
        self._blocked_by: Awaited | None = None
        self._keeper: threading.Thread | None = None

    def __len__(self) -> int:
        return len(self._running)

    def first(self) -> UUID | None:
        """One of the jobs that run."""
        return next(iter(list(self._running)), None)

    def room_for(self, queue: str) -> int | None:
        """How many more jobs of a queue, or an RQ queue, may begin; None if they run alone."""
        kind = self._queues.get(queue)
        return None if kind is None else self._room(kind)

    def take(
        self, jobs: Sequence[Job], stopping: Callable[[], bool]
    ) -> tuple[list[Job], list[Job]]:
        """Begin those of these claimed jobs that run beside, while there is room for them.

        Returns those for the main thread, and those for which there is no room. Where there are
        suspects they come first, alone.
        """
        suspects = [job for job in jobs if is_suspect(job)]
        if suspects:
            self.wait(lambda: stopping() or not self._running)
            return suspects, [job for job in jobs if not is_suspect(job)]
        here, back = [], []
        for job in jobs:
            kind = self._kind(job)
            if kind is None:
                here.append(job)
            elif self._room(kind) > 0:
                self._start(kind, job)
            else:
                back.append(job)
        return here, back

    def wait(self, until: Callable[[], bool], at_most: float = inf) -> None:
        """Wait until something is so that the end of a job may bring about; seconds at most."""
        deadline = clock.monotonic() + at_most
        with self._changed:
            while not until() and (left := deadline - clock.monotonic()) > 0:
                self._changed.wait(min(left, LOOK_EVERY))

    def _room(self, kind: str) -> int:
        return self._most[kind] - sum(one == kind for one, _, _ in list(self._running.values()))

    def _kind(self, job: Job) -> str | None:
        if job.task not in self._kinds:
            self._kinds[job.task] = self._kind_of_task(job.task)
        kind = self._kinds[job.task]
        if kind is not None or self._queues:
            self._queues[job.queue] = self._queues[rq_queue_name(job.queue, job.priority)] = kind
        return kind

    def _kind_of_task(self, path: str) -> str | None:
        try:
            task = find_task(path)
        except TaskNotFound:
            return None
        # An atomic task is alone with its transaction.
        kind = LOOP if iscoroutinefunction(task.func) else THREADS
        alone = getattr(task, "atomic", False) or self._most[kind] < 2
        return None if alone else kind

    def _start(self, kind: str, job: Job) -> None:
        kill_at = clock.monotonic() + job.timeout + self._kill_after
        self._slot.running(job.pk, job.claims, kill_at)
        if self._keeper is None:
            self._keeper = threading.Thread(target=self._keep, name="keeper", daemon=True)
            self._keeper.start()
        run: Aside = Awaited(job, self._alias) if kind == LOOP else Threaded(job, self._alias)
        # First: it may end at once.
        with self._changed:
            self._running[job.pk] = kind, run, kill_at
            self._changed.notify_all()
        if isinstance(run, Awaited):
            self._loop.start(run, self._note_end)
        else:
            self._threads.start(run, self._note_end)

    def _note_end(self, run: Aside) -> None:
        with self._changed:
            self._ended.append(run)
            self._changed.notify_all()

    def _keep(self) -> None:
        while True:
            with self._changed:
                if not self._ended:
                    self._changed.wait(LOOK_EVERY if self._running else None)
                ended, self._ended = self._ended, []
            try:
                self._settle(ended)
                self._enforce()
            except Exception:
                logger.exception("The jobs beside the main thread could not be looked after.")

    def _settle(self, ended: list[Aside]) -> None:
        if not ended:
            return
        runs = []
        for one in ended:
            run = one.end()
            if run is None:
                self._forget(one.job.pk)
                continue
            if run.open:
                # From here on a crash repeats it, and charges nobody.
                self._slot.claimed(one.job.pk, one.job.claims)
            runs.append(run)
        self._close(runs)
        with self._changed:
            for one in ended:
                self._running.pop(one.job.pk, None)
            self._changed.notify_all()
        self._notify()

    def _enforce(self) -> None:
        strike_overdue()
        running = list(self._running.values())
        for _, run, _ in running:
            if self._slot.is_cancelled(run.job.pk):
                run.cancel()
        if any(kind == LOOP for kind, _, _ in running):
            self._spare_the_innocent([entry[1:] for entry in running if entry[0] == LOOP])

    def _spare_the_innocent(self, runs: Iterable[tuple[Aside, float]]) -> None:
        """While a coroutine blocks the loop the others cannot heed their timeouts.

        The arbiter is to kill the process for the sake of the one that blocks, and of no other.
        """
        culprit, was_blocked = self._loop.culprit(), self._blocked_by is not None
        self._blocked_by = culprit
        if culprit is None and not was_blocked:
            return
        for run, kill_at in runs:
            later = max(kill_at, clock.monotonic() + self._kill_after)
            if run is not culprit:
                self._slot.running(run.job.pk, run.job.claims, later if culprit is None else inf)


def is_suspect(job: Job) -> bool:
    """Whether its last attempt ended with its process: it may have been another job's fault.

    It runs alone, so that the next crash is laid to the right one.
    """
    return job.error.startswith("crash")
