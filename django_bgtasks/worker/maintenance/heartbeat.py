"""The heartbeat of a worker, and the cancellations that it is asked for."""

from __future__ import annotations

import os
import threading
import time

from ...core import clock
from ...jobs.task import queues_of
from ...ledger import workers
from ...models import Worker
from ..config import WorkerConfig
from .orders import Orders
from .pipes import Pipe
from .rescue import Silence
from .task import MaintenanceTask

LOOK_EVERY = 0.25


class Heartbeat:
    """It has a thread of its own: no slow task may make a live worker look dead."""

    def __init__(
        self, config: WorkerConfig, orders: Orders, reports: Pipe, silence: Silence
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
        alive = workers.beat(config.worker, config.using, self._orders.trouble)
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
        workers.register(row, config.using)
        return True

    def _report_cancellations(self) -> None:
        for job, claim in workers.cancellations(self._config.worker, self._config.using):
            self._reports.send("cancel", job=job, claim=claim)
        self._silence.note()
