"""Duty: give the running jobs of dead workers back to retry or failure."""

from __future__ import annotations

import logging

from ...ledger.workers import call_dead, orphans
from .aftermath import Death, settle_death

logger = logging.getLogger("django_bgtasks.worker")
CHUNK = 200


def tick(dead_after: float, alias: str) -> int:
    """Call silent workers dead and settle what they ran. Returns how many jobs were rescued."""
    call_dead(dead_after, alias)
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
