"""The maintenance process: the heartbeat of this worker, and the maintenance tasks."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from functools import partial

from django.db import DatabaseError, InterfaceError, connections

from ...core import clock
from ...jobs.task import queues_of
from ...ledger import workers
from ...ledger.database_errors import is_file_locked
from ...ledger.lock_timeouts import limit_waits
from ...ledger.own_transactions import write_beside_nobody
from ...models import Worker
from ...sandbox import restore
from ...sandbox.connections import give_back_connections
from ...transport.connection import RedisError, reason
from .. import unix_signals
from ..config import WorkerConfig
from ..processes import announce_process
from ..shared_state import SharedState
from . import batches, lanes, promote, prune, rates, rescue
from .dead_processes import DeadProcesses
from .ledger_identity import Identity
from .orders import Orders
from .orphaned_claims import OrphanedClaims
from .pipes import Pipe
from .redispatch import Redispatch
from .rollups import RollUps
from .rq_registry import RQRegistry
from .schedules import Schedules

logger = logging.getLogger("django_bgtasks.worker")
UNREACHABLE = (DatabaseError, InterfaceError, RedisError)
LOOK_EVERY = 0.25
# Where a worker has but one core, the first jobs have it first.
BEGIN_AFTER = 0.5


class MaintenanceProcess:
    """The maintenance of one worker. It ends when its supervisor says so or is gone.

    last_beat: when one before this one reached the database last; -inf if there was none.
    """

    def __init__(
        self,
        config: WorkerConfig,
        orders: Pipe,
        reports: Pipe,
        shared_states: list[SharedState],
        last_beat: float,
    ) -> None:
        self.config, backend, using = config, config.backend, config.using
        self.orders = Orders(orders, shared_states)
        last_answer = last_beat if last_beat > float("-inf") else clock.monotonic()
        silence = rescue.Silence(config.options.dead_after, last_answer)
        self.heartbeat = Heartbeat(config, self.orders, reports, silence)
        identity, redispatch = Identity(backend, using), Redispatch(backend, using)
        rq = RQRegistry(config, self.orders)
        rescuer = rescue.Rescue(silence, using, redispatch)
        orphaned = OrphanedClaims(config.worker, using, self.orders)
        self.deaths = MaintenanceTask(
            "settle the jobs of dead processes",
            0.2,
            DeadProcesses(config, self.orders, reports, redispatch, rq).run_once,
        )
        self.tasks = (
            MaintenanceTask("see whose ledger this is", 30.0, identity.run_once),
            MaintenanceTask("see what Redis allows", 60.0, rq.check_permissions),
            self.deaths,
            MaintenanceTask("promote due jobs", 1.0, partial(promote.run_when_due, using)),
            MaintenanceTask("fire schedules", 1.0, Schedules(backend, using).run_once),
            MaintenanceTask("send messages again", 0.5, redispatch.run_once),
            MaintenanceTask("give free places", lanes.EVERY, partial(lanes.run_once, using)),
            MaintenanceTask("finish batches", batches.EVERY, partial(batches.run_once, using)),
            MaintenanceTask("start rated jobs", rates.EVERY, partial(rates.run_once, using)),
            MaintenanceTask("rescue jobs", rescue.EVERY, rescuer.run_once),
            MaintenanceTask("release orphaned claims", 2.0, orphaned.run_once),
            MaintenanceTask("renew the RQ workers", 30.0, rq.renew),
            MaintenanceTask("take dead workers out of RQ", 5.0, rq.remove_lost),
            MaintenanceTask("forget empty RQ queues", 60.0, rq.forget_queues),
            MaintenanceTask("add up what has ended", 10.0, RollUps(using).run_once),
            MaintenanceTask("prune", 60.0, partial(prune.run_unhurried, using)),
        )

    def main(self) -> None:
        """Beat in one thread, do the maintenance tasks in this one, until told to stop."""
        # A stop of the whole process group is for the supervisor, which ends maintenance last.
        unix_signals.listen(signal.SIG_IGN)
        for number in (signal.SIGUSR1, signal.SIGALRM):
            signal.signal(number, unix_signals.do_nothing)
        # First, for the other asks each new session how long it waits.
        limit_waits()
        write_beside_nobody()
        self.heartbeat.start()
        announce_process(self.config.backend, "maintenance")
        # What a schedule asks is the site's own code.
        restore.remember_process(self.config.directory)
        for task in self.tasks:
            if task is not self.deaths:
                task.due = clock.monotonic() + BEGIN_AFTER
        while not self.orders.stopping or self.orders.deaths:
            self.orders.receive(self._idle_seconds())
            for task in self.tasks:
                task.run()
        try:
            workers.sign_off(self.config.worker, self.config.using)
        except UNREACHABLE as error:
            logger.warning("The database did not take the end of this worker: %s", reason(error))

    def _idle_seconds(self) -> float:
        waited_for = [task for task in self.tasks if task is not self.deaths or self.orders.deaths]
        next_due = min(task.due for task in waited_for)
        return max(0.0, min(1.0, next_due - clock.monotonic()))


class MaintenanceTask:
    """Calls run_once() when it is due. What cannot be done now is done later.

    name: what it does, for the log: "prune". every: seconds between two runs; run_once() may return
    others, as a float. again: seconds after a run that failed; as ever, if it is not given.
    """

    def __init__(
        self, name: str, every: float, run_once: Callable[[], object], again: float | None = None
    ) -> None:
        self.name, self.every, self.run_once = name, every, run_once
        self.again = every if again is None else again
        self.due = 0.0
        self._failing = False

    def run(self) -> None:
        """Run it if it is due. A database or a Redis that is away is logged once."""
        if clock.monotonic() < self.due:
            return
        try:
            pause = self.run_once()
        except UNREACHABLE as error:
            pause = self.again
            self._log(error)
            for broken in connections.all(initialized_only=True):
                broken.close()
        except Exception:
            # A mistake in one task must not take the heartbeat and the others with it.
            pause = self.again
            logger.exception("Maintenance could not %s.", self.name)
        else:
            self._failing = False
        finally:
            give_back_connections()
        self.due = clock.monotonic() + (pause if isinstance(pause, float) else self.every)

    def _log(self, error: Exception) -> None:
        # A job process says that Redis is away; for a maintenance task it is a detail.
        level = logging.DEBUG if self._failing or isinstance(error, RedisError) else logging.WARNING
        logger.log(level, "Maintenance could not %s: %s", self.name, reason(error))
        self._failing = True


class Heartbeat:
    """It has a thread of its own: no slow task may make a live worker look dead."""

    def __init__(
        self, config: WorkerConfig, orders: Orders, reports: Pipe, silence: rescue.Silence
    ) -> None:
        self._config, self._orders = config, orders
        self._reports, self._silence = reports, silence

    def start(self) -> None:
        """Beat from now on."""
        threading.Thread(target=self._run, name="heartbeat", daemon=True).start()

    def _run(self) -> None:
        # After an outage the first sign of life must not be late.
        beat = MaintenanceTask("beat", self._config.options.beat_every, self._beat, again=0.5)
        cancel = MaintenanceTask("look for cancellations", 1.0, self._report_cancellations)
        while True:
            beat.run()
            cancel.run()
            time.sleep(LOOK_EVERY)

    def _beat(self) -> None:
        config, now = self._config, clock.monotonic()
        try:
            alive = workers.beat(config.worker, config.using, self._orders.trouble)
        except DatabaseError as error:
            if is_file_locked(error):
                # Nobody can call this worker dead meanwhile: that is a write, too.
                self._reports.send("beat", at=clock.monotonic())
            raise
        if alive or self._register():
            self._reports.send("beat", at=now)
        else:
            self._reports.send("forgotten")

    def _register(self) -> bool:
        """Write this worker's row at its first beat. False if it was called dead before."""
        config = self._config
        if Worker.objects.using(config.using).filter(pk=config.worker).exists():
            return False
        row = Worker(
            pk=config.worker, hostname=config.hostname, pid=os.getppid(), backend=config.backend
        )
        row.processes, row.dead_after = config.processes, config.options.dead_after
        row.queues = list(config.queues or sorted(queues_of(config.backend)))
        row.serves_all = not config.queues
        workers.register(row, config.using)
        return True

    def _report_cancellations(self) -> None:
        for job, claim in workers.cancellations(self._config.worker, self._config.using):
            self._reports.send("cancel", job=job, claim=claim)
        self._silence.note()
