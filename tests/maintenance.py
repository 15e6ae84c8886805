"""The maintenance of a worker under test."""

from __future__ import annotations

from django_bgtasks.ledger.identity import ledger_database
from django_bgtasks.models import Worker
from django_bgtasks.monitoring.totals import watermark

from .waiting import wait_until


def wait_for_maintenance() -> None:
    """Wait until a worker is known and the first round of its maintenance is over.

    On SQLite, which has one writer, a process that stands still in a transaction stops all.
    """
    wait_until(lambda: Worker.objects.exists() and watermark(ledger_database()), 20.0)
