"""The maintenance process: the heartbeat of this worker, and the maintenance tasks."""

from __future__ import annotations

import logging
import signal
from functools import partial

from ...core import clock
from ...ledger import workers
from ...ledger.lock_timeouts import limit_waits
from ...transport.connection import reason
from .. import signals
from ..config import WorkerConfig
from ..processes import announce_process
from ..shared_state import SharedState
from . import promote, prune, rescue
from .dead_processes import DeadProcesses
from .heartbeat import Heartbeat
from .ledger_identity import Identity
from .orders import Orders
from .orphaned_claims import OrphanedClaims
from .pipes import Pipe
from .redispatch import Redispatch
from .rollups import RollUps
from .rq_registry import RQRegistry
from .task import UNREACHABLE, MaintenanceTask

logger = logging.getLogger("django_bgtasks.worker")


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
        heard = last_beat if last_beat > float("-inf") else clock.monotonic()
        silence = rescue.Silence(config.options.dead_after, heard)
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
            MaintenanceTask("send messages again", 0.5, redispatch.run_once),
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
        signals.listen(signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, signals.do_nothing)
        limit_waits()
        self.heartbeat.start()
        announce_process(self.config.backend, "maintenance")
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
