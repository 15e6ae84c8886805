"""Jobs that run beside the main thread of a child: coroutines on a loop, functions in threads.

The main thread begins them. A thread of their own, the keeper, settles what has run, in groups, and
sees to their limits. Each has its own claim, its own place in the slot, its own timeout and
cancellation.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import iscoroutinefunction
from math import inf
from uuid import UUID

from ...core import clock
from ...core.errors import TaskNotFound
from ...jobs.coroutines import Awaited
from ...jobs.execute import Run, is_suspect
from ...jobs.task import find_task
from ...models import Job
from ...sandbox.connections import give_back_connections
from ...sandbox.isolation import restore_log
from ...sandbox.timeouts import interrupt_overdue
from ...transport.names import rq_queue_name
from ..config import WorkerConfig
from ..shared_state import Slot
from .database_threads import room_for
from .event_loop import Loop
from .threads import Threaded, Threads

logger = logging.getLogger("django_bgtasks.worker")
LOOP, THREADS = "loop", "threads"
LOOK_EVERY = 0.2


@dataclass(eq=False, slots=True)
class Aside:
    """One run beside the main thread.

    place: of its entry in the slot. kill_at: when the supervisor ends it at the latest.
    """

    kind: str
    run: Awaited | Threaded
    place: int
    kill_at: float


class Beside:
    """What runs beside the main thread, and how much more of it there is room for.

    settle: settles runs that have ended, and returns those whose claim still held.
    finish: drops the messages of the former, and tells of the latter.
    notify: called when there is room for more.
    """

    def __init__(
        self,
        config: WorkerConfig,
        slot: Slot,
        settle: Callable[[list[Run]], list[Run]],
        finish: Callable[[list[UUID], list[Run]], None],
        notify: Callable[[], None],
    ) -> None:
        self._slot, self._settle, self._finish, self._notify = slot, settle, finish, notify
        self._kill_after = config.options.kill_after
        self._most = {LOOP: config.async_concurrency, THREADS: config.threads}
        self._using, self._threads = config.using, Threads()
        self._loop = Loop(room_for(config.async_connections, config.threads))
        # Of each task, and of each queue the kind of its last job.
        self._kinds: dict[str, str | None] = {}
        self._queues: dict[str, str | None] = {}
        # Not by job: one that is to run again at once may come before its last run is let go.
        self._running: set[Aside] = set()
        self._ended: list[Aside] = []
        self._changed = threading.Condition()
        self._blocked_by: Awaited | None = None
        self._keeper: threading.Thread | None = None

    def __len__(self) -> int:
        return len(self._running)

    def first(self) -> UUID | None:
        """One of the jobs that run."""
        return next((one.run.job.pk for one in list(self._running)), None)

    def room_for(self, queue: str) -> int | None:
        """How many more jobs of a queue, or an RQ queue, may begin; None if they run alone."""
        kind = self._queues.get(queue)
        return None if kind is None else self._room(kind)

    def take(self, jobs: Sequence[Job]) -> tuple[list[Job], list[Job]]:
        """Begin those of these claimed jobs that run beside, while there is room for them.

        Returns those for the main thread, and those for which there is no room. Where there are
        suspects they come first, and alone: when nothing runs beside them any more.
        """
        suspects = [job for job in jobs if is_suspect(job)]
        if suspects:
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
        return self._most[kind] - sum(one.kind == kind for one in list(self._running))

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
        place = self._slot.part_with(job.pk)
        self._slot.runs_at(place, job.claims, kill_at)
        if self._keeper is None:
            self._keeper = threading.Thread(target=self._keep, name="keeper", daemon=True)
            self._keeper.start()
        run = Awaited(job, self._using) if kind == LOOP else Threaded(job, self._using)
        one = Aside(kind, run, place, kill_at)
        # First: it may end at once.
        with self._changed:
            self._running.add(one)
            self._changed.notify_all()
        if isinstance(run, Awaited):
            self._loop.start(run, lambda: self._note_end(one))
        else:
            self._threads.start(run, lambda: self._note_end(one))

    def place_of(self, job: Job) -> int | None:
        """The place in the slot of a run of this row; None if it does not run beside."""
        return next((one.place for one in list(self._running) if one.run.job is job), None)

    def _note_end(self, one: Aside) -> None:
        with self._changed:
            # The keeper may have to wait for the database before it comes to this one.
            self._slot.ended_at(one.place)
            self._ended.append(one)
            self._changed.notify_all()

    def _keep(self) -> None:
        while True:
            with self._changed:
                if not self._ended:
                    self._changed.wait(LOOK_EVERY if self._running else None)
                ended, self._ended = self._ended, []
            try:
                if ended:
                    self._let_go(ended)
                self._enforce()
            except BaseException:
                # As where the main thread fails: the supervisor sees to what this process held.
                logger.exception("The jobs beside the main thread could not be looked after.")
                os._exit(1)

    def _let_go(self, ended: list[Aside]) -> None:
        settled = self._settle([run for one in ended if (run := self._end(one)) is not None])
        for one in ended:
            self._slot.free(one.place)
        restore_log()
        self._finish([one.run.job.pk for one in ended], settled)
        # Others may need the connection before the next one ends.
        give_back_connections()
        with self._changed:
            self._running.difference_update(ended)
            self._changed.notify_all()
        self._notify()

    def _end(self, one: Aside) -> Run | None:
        kill_at = clock.monotonic() + one.run.job.timeout + self._kill_after
        self._slot.runs_at(one.place, one.run.job.claims, kill_at)
        run = one.run.end()
        if run is not None and run.open:
            self._slot.ended_at(one.place)
        return run

    def _enforce(self) -> None:
        interrupt_overdue()
        running = list(self._running)
        for one in running:
            if self._slot.is_cancelled_at(one.place):
                one.run.cancel()
        coroutines = [one for one in running if one.kind == LOOP]
        if coroutines:
            self._spare_the_innocent(coroutines)

    def _spare_the_innocent(self, coroutines: list[Aside]) -> None:
        """While a coroutine blocks the loop the others cannot heed their timeouts.

        The supervisor is to kill the process for the sake of the one that blocks, and of no other.
        """
        blocking_job, was_blocked = self._loop.blocking_job(), self._blocked_by is not None
        if not any(one.run is blocking_job for one in coroutines):
            # What a job has left behind on the loop: there is no time at which that is killed.
            blocking_job = None
        self._blocked_by = blocking_job
        if blocking_job is None and not was_blocked:
            return
        for one in coroutines:
            later = max(one.kill_at, clock.monotonic() + self._kill_after)
            if one.run is blocking_job:
                continue
            until = later if blocking_job is None else inf
            with self._changed:
                if one not in self._ended:
                    self._slot.runs_at(one.place, one.run.job.claims, until)
