"""The upkeep of a worker under test."""

from __future__ import annotations

from django_bgtasks.ledger.sql import ledger_alias
from django_bgtasks.ledger.totals import watermark
from django_bgtasks.models import Worker

from .waiting import wait_until


def wait_for_upkeep() -> None:
    """Wait until a worker is known and the first round of its upkeep is over.

    On SQLite, which has one writer, a process that stands still in a transaction stops all.
    """
    wait_until(lambda: Worker.objects.exists() and watermark(ledger_alias()), 20.0)
