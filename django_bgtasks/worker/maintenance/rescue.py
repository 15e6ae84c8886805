"""Maintenance task: give the running jobs of dead workers back to retry or failure."""

from __future__ import annotations

import logging

from ...core import clock
from ...core.outcomes import DeathCause
from ...ledger.workers import call_dead, orphans
from .dead_processes import WORKER_GONE, Death, try_to_settle
from .redispatch import Redispatch

logger = logging.getLogger("django_bgtasks.worker")
CHUNK = 200
EVERY = 2.0
# Without the database for so much longer, as a share of `dead_after`, others could not beat either.
GAP_SHARE = 0.3


class Silence:
    """Since when the database has answered without a gap: so long others could be heard.

    After an outage nobody's heartbeat is young: who called the silent dead then would end every
    worker that lives. last_answer: when the database answered last.
    """

    def __init__(self, dead_after: float, last_answer: float) -> None:
        self.dead_after = dead_after
        self._last_answer, self._since = last_answer, float("-inf")

    def note(self) -> None:
        """The database has answered. For the thread of the heartbeat, which no task holds up."""
        now = clock.monotonic()
        if now - self._last_answer > self._gap:
            self._since = now
        self._last_answer = now

    def seconds(self) -> float:
        """For how long one who was alive would have been heard."""
        now = clock.monotonic()
        return now - self._since if now - self._last_answer <= self._gap else 0.0

    @property
    def _gap(self) -> float:
        return EVERY + GAP_SHARE * self.dead_after


class Rescue:
    """One rescuer. It judges the silence of others only by what it could have heard."""

    def __init__(self, silence: Silence, using: str, redispatch: Redispatch) -> None:
        self._silence, self._using, self._redispatch = silence, using, redispatch

    def run_once(self) -> int:
        """Settle what dead workers ran, those that are found dead now included. Returns how many
        jobs were rescued.
        """
        rescued = rescue(self._using)
        if call_dead(self._silence.seconds(), self._using):
            # It may have taken messages with it.
            self._redispatch.at_once()
            rescued += rescue(self._using)
        return rescued


def run_once(heard_for: float, using: str) -> int:
    """Call silent workers dead and settle what they ran. Returns how many jobs were rescued."""
    call_dead(heard_for, using)
    return rescue(using)


def rescue(using: str) -> int:
    """Settle what is running and whose worker is gone. Returns how many jobs that were."""
    rescued = 0
    for job in orphans(CHUNK, using):
        death = Death(job.pk, job.claims, job.worker, DeathCause.CRASH, WORKER_GONE)
        rescued += bool(try_to_settle(death, using))
    return rescued
