"""Step 4, the worker's loop: fetch messages, claim their jobs, run them, settle, acknowledge.

Next: jobs/execute.py (5 claim, run, settle).
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from inspect import iscoroutinefunction
from itertools import islice
from types import FrameType
from typing import Any, TypeVar
from uuid import UUID

from django.db import DatabaseError, InterfaceError

from ..core import clock
from ..core.options import backend_of
from ..core.payload import printable
from ..jobs.enqueue import admit_on_commit
from ..jobs.execute import Run, claim_jobs, is_suspect, settle_runs
from ..jobs.expiry import expire_jobs
from ..jobs.keeper import Ready, keeper_here
from ..jobs.task import known_task
from ..jobs.waiting import give_back_seats, give_seats, promote_jobs
from ..ledger.connection import remember_new_sessions, retry_until_connected
from ..ledger.lanes import Admitted, HandedOn, hand_on
from ..ledger.lifecycle import claim_next, release
from ..ledger.own_transactions import write_beside_nobody
from ..ledger.transitions import next_due
from ..models import Job
from ..sandbox import restore
from ..sandbox.call import before_interruption, confirm_cancellation, pause_limits_by
from ..sandbox.connections import give_back_connections
from ..sandbox.restore import CANCEL_SIGNAL, refresh_connections
from ..transport.messages import rq_queue_name
from . import log_handlers, unix_signals
from .config import WorkerConfig
from .executors import Executor, Settler
from .executors.active_runs import ActiveRuns
from .executors.event_loop import EventLoopExecutor
from .executors.inline import InlineExecutor
from .executors.settling_thread import SettlingThread
from .executors.threads import ThreadExecutor
from .fetcher import FETCH_SECONDS, MessageFetcher
from .lines import Heir, Lines
from .once_flag import OnceFlag
from .processes import announce_process, prepare_forks, resident_mib
from .served_queues import ServedQueues
from .shared_state import SharedState

logger = logging.getLogger("django_bgtasks.worker")
POLL_SECONDS = 0.5
BURST_PROMOTE = 1000
# Seconds until a job is looked for again whose message was ahead of its row.
LOOK_AGAIN = 0.0002
# Exit codes by which the supervisor knows an end that is no crash.
OUT_OF_WORK, SPENT = 0, 75
Choosable = TypeVar("Choosable", Job | Admitted, Heir)


class JobProcess:
    """One job process: its loop, from the first message to the last."""

    def __init__(
        self, config: WorkerConfig, shared: SharedState, once_flag: OnceFlag | None = None
    ) -> None:
        self.config, self.shared, self.stopping = config, shared, False
        self.queues = ServedQueues(config)
        self.fetcher = MessageFetcher(config, self.queues, once_flag or OnceFlag())
        self.settler = ProcessSettler(config, shared, self.fetcher)
        self.inline = InlineExecutor(config, shared, self.settler)
        self.runs = ActiveRuns(config, shared)
        self.threads = ThreadExecutor(config, self.runs)
        self.event_loop = EventLoopExecutor(config, self.runs)
        self.settling = SettlingThread(config, shared, self.settler, self.runs, self.event_loop)
        # Of each task; and of each queue, and RQ queue, that of its last job.
        self._by_task: dict[str, Executor] = {}
        self._by_queue: dict[str, Executor] = {}
        # When the time is over for the messages in hand.
        self._late = 0.0
        # To run next: those that have the places of those that ran before.
        self._claimed: list[Job] = []
        # How many it runs in this thread: they are not counted yet.
        self._at_hand = 0
        self.lines = Lines(config.using)

    def main(self) -> None:
        """Run jobs until asked to stop, recycled, or, in burst mode, out of work."""
        self._prepare()
        spent = False
        try:
            while not self.stopping and not spent:
                # Looked at first: one that ends meanwhile may be queued again.
                alone = not self.runs.running
                if not self.step() and self.config.burst:
                    if alone:
                        break
                    self._pause(POLL_SECONDS)
                spent = self._is_spent()
            self.settler.hand_back(self._claimed)
            self.runs.wait(lambda: not self.runs.running)
        finally:
            self.fetcher.leave()
        if spent and not self.stopping:
            sys.exit(SPENT)

    def step(self) -> bool:
        """Run the next jobs, or wait a moment for one. False if there was none."""
        # What the last ones have left; not later, when a job may wait for it.
        refresh_connections()
        seconds = 0 if self.config.burst or self._claimed else FETCH_SECONDS
        running = self.runs.first() if self.runs.running else None
        messages = self.fetcher.fetch(self._capacity, seconds, running)
        if messages and self.stopping:
            # The stop came while it waited: others can begin these jobs now.
            self.fetcher.put_back(messages)
            return False
        if messages or self._claimed:
            self.run_messages(messages)
            return True
        if self.fetcher.suspended and self.fetcher.worker is not None:
            time.sleep(POLL_SECONDS)
            return False
        if self.fetcher.has_all() and not self.config.burst:
            return False
        return self._run_from_database()

    def run_messages(self, messages: list[UUID]) -> None:
        """Claim and run as many at a time as a batch may have; put back what comes too late.

        Who has the place of the last one then is the first to run in the next step: in between,
        messages of other queues have come.
        """
        self._late = clock.monotonic() + self.config.options.group_budget
        # A job has one entry here: a second message of it would find none once the first is done.
        messages = list(dict.fromkeys(messages))
        for job_id in messages:
            self.shared.popped(job_id)
        prefetched = self.inline.prefetched
        prefetched.extend(messages)
        if not messages:
            [*_, job] = self._claimed
            self.fetcher.source = rq_queue_name(job.queue, job.priority)
        keeper = keeper_here.set(self)
        try:
            while prefetched or self._claimed:
                jobs, self._claimed = self._claimed, []
                if ids := prefetched.take(max(0, self.config.group_size - len(jobs))):
                    jobs += self._claim(ids)
                self._run(jobs)
                if self.stopping or self._is_late():
                    self.settler.put_back(prefetched.take())
                    break
                if prefetched or self._claimed:
                    refresh_connections()
        finally:
            keeper_here.reset(keeper)

    def hand_on(self, done: Sequence[tuple[Job, Any]]) -> HandedOn:
        """Settle these successes, and claim who is next for their places in the same statement, if
        it is known who that is and there is time: with one commit less each, and without a message.
        """
        jobs, heirs, handed = [job for job, _ in done], {}, HandedOn()
        try:
            if self._goes_on() and not [job for job in jobs if job.has_followers]:
                heirs = self.lines.heirs(jobs, self._choose)
            if heirs:
                handed = hand_on(done, heirs, self.config.using)
        except (DatabaseError, InterfaceError) as error:
            logger.debug("Jobs are settled without those that wait for their places: %s", error)
        for job in handed.claimed:
            self.shared.claimed(job.pk, job.claims)
        claimed = {job.pk for job in handed.claimed}
        for job_id in heirs.keys() - claimed:
            self.shared.drop(job_id)
        self._claimed += handed.claimed
        self.lines.handed_on(heirs, claimed)
        return handed

    def _goes_on(self) -> bool:
        """Whether to go on with a lane: when the time of a group is over, only if its jobs are
        short. Others come to their turn in between, and would wait for a long one.
        """
        is_short = self.inline.capacity(self.fetcher.source) > 1
        return (is_short or not self._is_late()) and not self.fetcher.suspended

    def look(self, freed: Mapping[str, Sequence[int]]) -> Collection[str]:
        """Those of these lanes in which somebody may wait for the numbers that were freed."""
        return self.lines.look(freed)

    def keep(self, ready: Ready) -> Ready:
        """Run jobs that can begin by what was run here, if there is time: they need no message.

        Returns the others.
        """
        own = set() if self._is_late() else {job.id for job in self._choose(ready)}
        self.inline.prefetched.extend(job.id for job in ready if job.id in own)
        return [job for job in ready if job.id not in own]

    def _choose(self, jobs: Iterable[Choosable]) -> list[Choosable]:
        """Those of these jobs that this process is about to claim."""
        free = (job for job in jobs if self.shared.entry_of(job.id) is None)
        own = list(islice(filter(self._is_of_source, free), self._room()))
        for job in own:
            self.shared.popped(job.id)
        return own

    def _is_late(self) -> bool:
        return clock.monotonic() > self._late

    def _room(self) -> int:
        in_hand = len(self.inline.prefetched) + len(self._claimed)
        size, max_jobs = self.inline.capacity(self.fetcher.source), self.config.max_jobs
        if max_jobs is not None:
            size = min(size, max_jobs - self._begun() - self._at_hand)
        return 0 if self.stopping else max(0, size - in_hand)

    def _is_of_source(self, job: Job | Admitted | Heir) -> bool:
        name = rq_queue_name(job.queue, job.priority)
        return name == self.fetcher.source and backend_of(job.backend) == self.config.backend

    def _claim(self, ids: list[UUID]) -> list[Job]:
        config = self.config
        claim = partial(claim_jobs, ids, config.worker, config.using, config.queues, config.backend)
        looked_at, jobs = clock.monotonic(), claim()
        if not jobs:
            # Mostly the commit is a moment away: to ask takes longer.
            time.sleep(LOOK_AGAIN)
            looked_at, jobs = clock.monotonic(), claim()
        for job in jobs:
            self.shared.claimed(job.pk, job.claims)
        if len(jobs) < len(ids):
            claimed = {job.pk for job in jobs}
            missing = [job_id for job_id in ids if job_id not in claimed]
            ahead = self.fetcher.ahead(missing, looked_at)
            if ahead and not jobs:
                time.sleep(10 * LOOK_AGAIN)
            self.inline.prefetched.extend(ahead)
            for job_id in set(missing).difference(ahead):
                self.settler.forget(job_id)
                self.inline.sizer.ran(self.fetcher.source, 0.0)
        return jobs

    def _run(self, jobs: list[Job]) -> None:
        """Begin what runs beside this thread, and run and settle the others here."""
        has_suspects = any(map(is_suspect, jobs))
        inline = self._isolate(jobs) if has_suspects else self._submit(jobs)
        self._at_hand = len(inline)
        if inline:
            not_begun = self.inline.submit(inline)
            self.settler.hand_back(not_begun)
            self.settler.settle(self.inline.completed())
            # What the watch had in its hands meanwhile, and could not hand back.
            not_begun = self.inline.unwatch()
            self.settler.hand_back(not_begun)
            self.settler.settle(self.inline.completed())
        self._at_hand = 0
        self._share_connections()

    def _submit(self, jobs: list[Job]) -> list[Job]:
        """Begin those that run in other threads. Returns those for this one."""
        inline, refused = [], []
        for job in jobs:
            executor = self._by_task.get(job.task) or self._choose_executor(job.task)
            if self._by_queue or executor is not self.inline:
                self._by_queue[job.queue] = executor
                self._by_queue[rq_queue_name(job.queue, job.priority)] = executor
            if executor is self.inline:
                inline.append(job)
            else:
                refused += executor.submit([job])
        self.settler.hand_back(refused)
        return inline

    def _isolate(self, jobs: list[Job]) -> list[Job]:
        """Those that may have ended their process run alone: the rest is handed back first."""
        self.settler.put_back(self.inline.prefetched.take())
        suspects = [job for job in jobs if is_suspect(job)]
        self.settler.hand_back([job for job in jobs if job not in suspects])
        self.runs.wait(lambda: self.stopping or not self.runs.running)
        return suspects

    def _choose_executor(self, path: str) -> Executor:
        """Coroutines wait on the event loop, and functions in threads, where there are several.

        An atomic task is alone with its transaction.
        """
        executor: Executor = self.inline
        task = known_task(path)
        if task is not None and not getattr(task, "atomic", False):
            if iscoroutinefunction(task.func):
                executor = self.event_loop if self.config.async_concurrency > 1 else executor
            elif self.config.threads > 1:
                executor = self.threads
        if executor is not self.inline:
            self.settling.start()
        self._by_task[path] = executor
        return executor

    def _capacity(self, rq_queue: str) -> int:
        """How many messages of this RQ queue to take: what there is time or room for."""
        executor = self._by_queue.get(rq_queue, self.inline)
        size = executor.capacity(rq_queue)
        if executor is not self.inline:
            size = min(size, self.inline.sizer.limit)
        elif self._claimed:
            size = max(1, size - len(self._claimed))
        if self.config.max_jobs is None:
            return size
        left = self.config.max_jobs - self._begun() - len(self._claimed)
        return min(size, max(0 if self._claimed else 1, left))

    def _run_from_database(self) -> bool:
        """While Redis may lack messages, and at the end of a burst: the ledger has all jobs."""
        config = self.config
        goes_on = False
        if config.burst:
            for act in (expire_jobs, promote_jobs):
                retry_until_connected(partial(act, BURST_PROMOTE, config.using), config.using)
            # Somebody else may just be queueing the last one. Before the looks for queues and for
            # a job, which find what has been queued until here.
            goes_on = self._is_any_due()
        served = self.queues.in_database()
        names = [name for name in served if self._by_queue.get(name, self.inline).capacity(name)]
        tried: list[UUID] = []

        def claiming(job_id: UUID) -> None:
            tried.append(job_id)
            self.shared.popped(job_id)

        claim = partial(claim_next, names, config.worker, config.using, claiming, config.backend)
        job = retry_until_connected(claim, config.using)
        for job_id in tried:
            if job is None or job_id != job.pk:
                self.shared.drop(job_id)
        if job is None:
            self.queues.nothing_left()
            self._share_connections()
            if goes_on or not config.burst:
                self._pause(POLL_SECONDS)
            return goes_on
        self.fetcher.begin(job.pk)
        jobs = [job] if job.seat is None else give_seats([job], config.using)
        if not jobs:
            self.shared.drop(job.pk)
        self._run(jobs)
        return True

    def _is_any_due(self) -> bool:
        using = self.config.using
        return retry_until_connected(lambda: next_due(using), using)[0] == 0.0

    def _share_connections(self) -> None:
        """What runs beside may need the one that this thread had from a pool."""
        if self.runs.running:
            give_back_connections()

    def _pause(self, seconds: float) -> None:
        """Wait, not longer than until a job ends beside this thread."""
        if before := len(self.runs.running):
            self.runs.wait(lambda: len(self.runs.running) < before, seconds)
        else:
            time.sleep(seconds)

    @contextmanager
    def _limits_paused(self, job: Job) -> Iterator[None]:
        """What comes after the settlement has as much time as the task, and is of the site too."""
        entry = self.runs.entry_of(job)
        entry = self.shared.entry_of(job.pk) if entry is None else entry
        if entry is None:
            yield
            return
        self.shared.ended_at(entry)
        yield
        kill_at = clock.monotonic() + job.timeout + self.config.options.kill_after
        self.shared.runs_at(entry, job.claims, kill_at)

    def _begun(self) -> int:
        return self.settler.settled + len(self.runs.running)

    def _is_spent(self) -> bool:
        begun, config = self._begun(), self.config
        # Not before its first job: with a limit below what Django itself needs, jobs still run.
        if not begun:
            return False
        if config.max_jobs is not None and begun >= config.max_jobs:
            logger.info("This job process has run %d jobs and is replaced.", begun)
            return True
        if config.max_memory is not None and (used := resident_mib()) > config.max_memory:
            logger.info("This job process holds %.0f MiB and is replaced.", used)
            return True
        if not restore.restore_limits() or restore.is_worn():
            logger.warning(
                "A task has left this job process with lower limits or nearly without descriptors: "
                "it is replaced."
            )
            return True
        return False

    def _prepare(self) -> None:
        unix_signals.listen(self._stop)
        # Outside of a task a cancellation comes too late to matter, and so does an alarm. They are
        # not ignored: that would be inherited by the programs that tasks start. Nor does the timer
        # of a profiler end the process, which one of several threads may have left.
        for number in (CANCEL_SIGNAL, signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF):
            signal.signal(number, unix_signals.do_nothing)
        before_interruption(log_handlers.flush)
        write_beside_nobody()
        remember_new_sessions()
        prepare_forks()
        # After these two: they are for the sessions and processes that receivers begin, too.
        announce_process(self.config.backend, "jobs")
        restore.remember_process(self.config.directory)
        confirm_cancellation(self.inline.is_cancelled)
        pause_limits_by(self._limits_paused)
        self.shared.works()

    def _stop(self, signum: int, frame: FrameType | None) -> None:
        self.stopping = True
        self.inline.stop()
        # What is killed when the grace is over writes nothing any more.
        log_handlers.flush()


class ProcessSettler(Settler):
    """Settles by the ledger, and drops the messages and the entries in the shared memory.

    settled: how many jobs this process has run and settled.
    """

    def __init__(self, config: WorkerConfig, shared: SharedState, fetcher: MessageFetcher) -> None:
        self.using, self.shared, self.fetcher = config.using, shared, fetcher
        self.settled = 0
        self._counting = threading.Lock()

    def settle(self, runs: list[Run], patient: bool = True) -> None:
        if not runs:
            return
        settled = settle_runs(runs, self.using, patient)
        for run in runs:
            self.shared.drop(run.job.pk)
        self.announce([run.job.pk for run in runs], settled)

    def announce(self, ids: list[UUID], settled: list[Run]) -> None:
        self.fetcher.acknowledge(ids, settled)
        with self._counting:
            self.settled += len(settled)
        if logger.isEnabledFor(logging.INFO):
            for run in settled:
                logger.info("%s", job_line(run))

    def hand_back(self, jobs: list[Job], patient: bool = True) -> None:
        if not jobs:
            return
        if patient:
            retry_until_connected(lambda: release(jobs, self.using), self.using)
        else:
            release(jobs, self.using)
        give_back_seats(jobs, self.using)
        # Those with a rate wait for their next seats. What fails is left to maintenance.
        if rates := {job.rate for job in jobs if job.rate}:
            admit_on_commit({}, rates, self.using)
        self.put_back([job.pk for job in jobs])

    def put_back(self, ids: list[UUID]) -> None:
        for job_id in ids:
            self.shared.drop(job_id)
        self.fetcher.put_back(ids)

    def forget(self, job_id: UUID) -> None:
        self.shared.drop(job_id)
        self.fetcher.forget(job_id)


def job_line(run: Run) -> str:
    """id, task, queue, attempt, outcome, duration and wait of a job, in one line."""
    job, outcome = run.job, run.outcome
    attempt = job.attempt if outcome.charged else job.attempt + 1
    waited, state = 0.0, "retrying" if outcome.failure and not job.is_final else job.state
    if job.started_at:
        # Since when it could have begun.
        since: datetime = max(filter(None, (job.enqueued_at, job.run_after)))
        waited = max(0.0, (job.started_at - since).total_seconds())
    line = (
        f"job={job.pk} task={job.task} queue={job.queue} attempt={attempt}/{job.max_attempts} "
        f"outcome={state} duration={run.seconds:.3f}s wait={waited:.3f}s"
    )
    return printable(f"{line} error={job.error}" if job.error else line)
