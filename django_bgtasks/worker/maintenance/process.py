"""The maintenance child: the heartbeat of this worker, and the background tasks."""

from __future__ import annotations

import logging
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID

from django.db import DatabaseError, InterfaceError, connections

from ...core import clock
from ...core.messages import Reason
from ...core.registry import queues_of
from ...ledger import workers
from ...ledger.lock_timeouts import limit_waits
from ...models import Worker
from ...sandbox.connections import give_back_connections
from ...transport import registry
from ...transport.connection import RedisError, connection, reason
from ...transport.depth import forget_empty
from ...transport.names import Namespace
from ...transport.namespace import namespace_of
from ...transport.permissions import SCRIPTS, cure, essential, missing, user_of
from .. import signals
from ..config import WorkerConfig, ending_of
from ..shared_state import Slot
from . import promote, prune, rescue
from .dead_processes import Death, try_to_settle
from .ledger_identity import Identity
from .orphaned_claims import OrphanedClaims
from .pipes import Pipe
from .redispatch import Redispatch
from .rollups import RollUps

logger = logging.getLogger("django_bgtasks.worker")
# Seconds until the end of a job that could not be settled is tried again.
TRY_AGAIN = 2.0
BROKEN = (DatabaseError, InterfaceError, RedisError)


class MaintenanceTask:
    """A run_once and when it is due next. What it cannot do now it does later.

    again: seconds after a run_once that failed; as ever, if it is not given.
    """

    def __init__(
        self, name: str, every: float, run_once: Callable[[], Any], again: float | None = None
    ) -> None:
        self.name, self.every, self.run_once = name, every, run_once
        self.again = every if again is None else again
        self.due = 0.0
        self._failing = False

    def run(self) -> None:
        """Tick if it is time. A database or a Redis that is away is said once."""
        if clock.monotonic() < self.due:
            return
        try:
            pause = self.run_once()
        except BROKEN as error:
            pause = self.again
            self._say(error)
            _forget_broken()
        except Exception:
            # A mistake in one task must not take the heartbeat and the others with it.
            pause = self.again
            logger.exception("Maintenance could not %s.", self.name)
        else:
            self._failing = False
        finally:
            give_back_connections()
        self.due = clock.monotonic() + (pause if isinstance(pause, float) else self.every)

    def _say(self, error: Exception) -> None:
        # One of the children says that Redis is away; of maintenance's tasks it is a detail.
        level = logging.DEBUG if self._failing or isinstance(error, RedisError) else logging.WARNING
        logger.log(level, "Maintenance could not %s: %s", self.name, reason(error))
        self._failing = True


class MaintenanceProcess:
    """One maintenance child. It ends when its supervisor says so or is gone.

    last_beat: when one before this one reached the database last; -inf if there was
    none.
    """

    def __init__(
        self, config: WorkerConfig, orders: Pipe, reports: Pipe, slots: list[Slot], last_beat: float
    ) -> None:
        self.config, self.orders, self.reports, self.slots = config, orders, reports, slots
        self.children: list[int] = []
        self.trouble: Reason | None = None
        self.deaths: list[dict[str, Any]] = []
        self._lacking: list[str] = []
        self.stopping = False
        self.redispatch = Redispatch(config.backend, config.using)
        orphaned = OrphanedClaims(config.worker, config.using, self._held_jobs)
        options = config.options
        heard = last_beat if last_beat > float("-inf") else clock.monotonic()
        self.silence = rescue.Silence(options.dead_after, heard)
        rescuer = rescue.Rescue(self.silence, config.using, self.redispatch.at_once)
        self.tasks = (
            MaintenanceTask(
                "see whose ledger this is", 30.0, Identity(config.backend, config.using).run_once
            ),
            MaintenanceTask("see what Redis allows", 60.0, self._look_at_permissions),
            MaintenanceTask("settle the jobs of dead children", 0.2, self._settle_deaths),
            MaintenanceTask("promote due jobs", 1.0, self._promote),
            MaintenanceTask("send messages again", 0.5, self.redispatch.run_once),
            MaintenanceTask("rescue jobs", rescue.EVERY, rescuer.run_once),
            MaintenanceTask("release stray claims", 2.0, orphaned.run_once),
            MaintenanceTask("renew the RQ workers", 30.0, self._keep_registered),
            MaintenanceTask("take dead workers out of RQ", 5.0, self._deregister_lost),
            MaintenanceTask("forget empty RQ queues", 60.0, self._forget_queues),
            MaintenanceTask("add up what has ended", 10.0, RollUps(config.using).run_once),
            MaintenanceTask("prune", 60.0, self._prune),
        )

    def main(self) -> None:
        """Beat in one thread, do the maintenance tasks in this one, until told to stop."""
        # A stop of the whole process group is for the supervisor, which ends maintenance last.
        signals.listen(signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, signals.heed_not)
        limit_waits()
        threading.Thread(target=self._pulse, name="pulse", daemon=True).start()
        while not self.stopping or self.deaths:
            self._take_orders(self._idle_seconds())
            for task in self.tasks:
                task.run()
        self._sign_off()

    def _pulse(self) -> None:
        """The heartbeat has a thread of its own: no slow task may make a live worker look dead."""
        # After an outage the first sign of life must not be late.
        beat = MaintenanceTask("beat", self.config.options.beat_every, self._beat, again=0.5)
        cancel = MaintenanceTask("look for cancellations", 1.0, self._report_cancellations)
        while True:
            beat.run()
            cancel.run()
            time.sleep(0.25)

    def _beat(self) -> float | None:
        config, now = self.config, clock.monotonic()
        if not workers.beat(config.worker, config.using, self.trouble) and not self._register():
            self.reports.send("forgotten")
            return None
        self.reports.send("beat", at=now)
        return None

    def _register(self) -> bool:
        """Write this worker's row at its first beat. False if it was called dead before."""
        config = self.config
        if Worker.objects.using(config.using).filter(pk=config.worker).exists():
            return False
        row = Worker(
            pk=config.worker, hostname=config.hostname, pid=os.getppid(), backend=config.backend
        )
        row.processes, row.dead_after = config.processes, config.options.dead_after
        row.queues = list(config.queues or sorted(queues_of(config.backend)))
        workers.register(row, config.using)
        return True

    def _report_cancellations(self) -> None:
        for job, claim in workers.cancellations(self.config.worker, self.config.using):
            self.reports.send("cancel", job=job, claim=claim)
        self.silence.note()

    def _take_orders(self, seconds: float) -> None:
        select.select([self.orders.reader], [], [], seconds)
        orders = self.orders.receive()
        if orders is None:
            # The supervisor is gone. Its jobs are rescued by others, or by the next worker here.
            os._exit(1)
        for order in orders:
            if order["kind"] == "died":
                self.deaths.append(order)
            elif order["kind"] == "children":
                trouble = order["trouble"]
                self.children, self.trouble = order["pids"], Reason(**trouble) if trouble else None
            elif order["kind"] == "stop":
                self.stopping = True

    def _idle_seconds(self) -> float:
        next_due = min(task.due for task in self.tasks if task.every != 0.2 or self.deaths)
        return max(0.0, min(1.0, next_due - clock.monotonic()))

    def _settle_deaths(self) -> None:
        """Settle what each death left behind. One that cannot be settled is in no other's way."""
        for death in list(self.deaths):
            if clock.monotonic() >= death.get("again_at", 0.0):
                self._settle(death)

    def _settle(self, death: dict[str, Any]) -> None:
        others = partial(self._held_by_others, death)
        for held in list(death["jobs"]):
            job, claim, why = held
            one = Death(UUID(job), claim or None, self.config.worker, why, Reason(**death["end"]))
            if try_to_settle(one, self.config.using, others) is not None or self.stopping:
                # At a stop it is left to others: they find it running for nobody.
                death["jobs"].remove(held)
        if death["jobs"]:
            death["again_at"] = clock.monotonic() + TRY_AGAIN
            return
        self.reports.send("settled", number=death["number"])
        self.deaths.remove(death)
        self.redispatch.soon()
        self._deregister(death["pid"])
        workers.count_death(self.config.worker, self.config.using)

    def _held_jobs(self) -> set[UUID]:
        """What the children show in their slots, and what is about to be settled for a dead one."""
        return self._shown() | _jobs_of(self.deaths)

    def _held_by_others(self, death: dict[str, Any]) -> set[UUID]:
        """The same without the death that is being settled."""
        shown = self._shown()
        # In this order: a slot is cleared after the death of its child was told.
        self._take_orders(0)
        return shown | _jobs_of([other for other in self.deaths if other is not death])

    def _shown(self) -> set[UUID]:
        return {held.job for slot in self.slots for held in slot.read()}

    def _deregister(self, pid: int) -> None:
        try:
            registry.remove(self._rq_name(pid), connection(self.config.backend))
        except RedisError as error:
            logger.debug("A dead child is still registered in RQ: %s", reason(error))

    def _deregister_lost(self) -> None:
        """RQ itself would show the children of a worker that was killed for minutes yet."""
        lost = workers.lost(self.config.using)
        if lost and self.config.options.dispatch:
            endings = tuple(ending_of(worker) for worker in lost)
            registry.remove_ending(endings, self._named, connection(self.config.backend))

    def _look_at_permissions(self) -> None:
        """Say once what Redis does not allow and can be done without; the rest a child says."""
        if not self.config.options.dispatch:
            return
        redis = connection(self.config.backend)
        rules = missing(self._named, redis)
        lacking = [rule for rule in SCRIPTS if rule in rules]
        if lacking and lacking != self._lacking and not essential(rules):
            text = "Redis runs no scripts for %s; each message costs more trips. Allow them: %s"
            logger.warning(text, user_of(redis), cure(lacking, redis))
        self._lacking = lacking

    @property
    def _named(self) -> Namespace:
        return namespace_of(self.config.backend, self.config.using)

    def _rq_name(self, pid: int) -> str:
        return self._named.worker(self.config.child_name(pid))

    def _promote(self) -> float:
        # A read first: on SQLite promoting takes the write lock, whether or not a job is due.
        due_in = promote.seconds_to_next(self.config.using)
        if due_in is None or due_in > 0:
            return min(1.0, due_in or 1.0)
        # Nothing promoted although due: another worker is at it.
        return 0.0 if promote.run_once(self.config.using) else 0.1

    def _forget_queues(self) -> None:
        if self.config.options.dispatch:
            forget_empty(self._named, connection(self.config.backend))

    def _keep_registered(self) -> None:
        names = [self._rq_name(pid) for pid in self.children]
        if names and self.config.options.dispatch:
            registry.keep_alive(names, connection(self.config.backend))

    def _prune(self) -> float:
        start = clock.monotonic()
        if prune.run_once(self.config.using):
            return 0.5
        # What another backend keeps for long is looked through, and found too young, each time.
        return max(60.0, (clock.monotonic() - start) / prune.SHARE)

    def _sign_off(self) -> None:
        try:
            workers.sign_off(self.config.worker, self.config.using)
        except BROKEN as error:
            logger.warning("The database did not take the end of this worker: %s", reason(error))


def _jobs_of(deaths: list[dict[str, Any]]) -> set[UUID]:
    return {UUID(job) for death in deaths for job, _, _ in death["jobs"]}


def _forget_broken() -> None:
    for broken in connections.all(initialized_only=True):
        broken.close()
