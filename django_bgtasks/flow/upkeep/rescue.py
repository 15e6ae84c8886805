"""Duty: give the running jobs of dead workers back to retry or failure."""

from __future__ import annotations

import logging

from ...core import clock
from ...ledger.workers import call_dead, orphans
from .aftermath import Death, settle_death

logger = logging.getLogger("django_bgtasks.worker")
CHUNK = 200
EVERY = 2.0
# Without the database for so much longer, as a share of `dead_after`, others could not beat either.
DEAF_SHARE = 0.3


class Rescue:
    """One rescuer. It judges the silence of others only by what it could have heard.

    After an outage of the database nobody's heartbeat is young: who called the silent dead then
    would end every worker that lives. heard: when the database answered last.
    """

    def __init__(self, dead_after: float, alias: str, heard: float) -> None:
        self.dead_after, self.alias = dead_after, alias
        self._heard = heard
        self._hears_since = float("-inf")

    def tick(self) -> int:
        """Settle what dead workers ran, those that are found dead now included. Returns how many
        jobs were rescued.
        """
        # First this question to the database: its answer may be late.
        rescued = rescue(self.alias)
        now = clock.monotonic()
        if now - self._heard > EVERY + DEAF_SHARE * self.dead_after:
            self._hears_since = now
        self._heard = now
        if now - self._hears_since >= self.dead_after and call_dead(self.dead_after, self.alias):
            rescued += rescue(self.alias)
        return rescued


def tick(dead_after: float, alias: str) -> int:
    """Call silent workers dead and settle what they ran. Returns how many jobs were rescued."""
    call_dead(dead_after, alias)
    return rescue(alias)


def rescue(alias: str) -> int:
    """Settle what is running and whose worker is gone. Returns how many jobs that were."""
    rescued = 0
    for job in orphans(CHUNK, alias):
        death = Death(
            job.pk,
            job.claims,
            job.worker,
            "crash",
            "Its worker is gone: it was not heard of any more.",
        )
        rescued += settle_death(death, alias)
    return rescued
