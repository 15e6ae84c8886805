"""Which transactions are a worker's own. On SQLite they wait for others: see sqlite_locking.py.

That file is loaded only where a database is SQLite's.
"""

from __future__ import annotations

import threading
from importlib import import_module
from typing import Any

from django.db.backends.signals import connection_created

# `is_ours`: the transactions of this thread are the worker's own where no task runs.
here = threading.local()


def write_beside_nobody() -> None:
    """From now on each new connection of this process to an SQLite database does."""
    connection_created.connect(_prepare, dispatch_uid="django_bgtasks.sqlite_locking")
    own_transactions_here()


def own_transactions_here() -> None:
    """In this thread only the worker's own transactions begin, except while a task runs in it."""
    here.is_ours = True


def load_for(connection: Any) -> None:
    """Load what a connection of this kind will need."""
    if connection.vendor == "sqlite":
        import_module(f"{__package__}.sqlite_locking")


def _prepare(connection: Any, **kwargs: Any) -> None:
    if connection.vendor == "sqlite":
        import_module(f"{__package__}.sqlite_locking").prepare(connection)
