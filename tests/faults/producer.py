"""A site that enqueues one job in a transaction; run as a process of its own, to be struck.

`python -m tests.faults.producer TASK`. With ` early` behind it: without a transaction, and as the
second job of a session whose commits are short.
"""

from __future__ import annotations

import sys

import django
from django.db import connection, transaction


def main(name: str, early: bool) -> None:
    """Enqueue and commit."""
    django.setup()
    from django_bgtasks.ledger.prepared import ATTRIBUTE

    from . import tasks

    if early:
        getattr(tasks, name).enqueue()
        getattr(connection.connection, ATTRIBUTE).commit = 0.0
        getattr(tasks, name).enqueue()
        return
    with transaction.atomic():
        getattr(tasks, name).enqueue()


if __name__ == "__main__":
    main(sys.argv[1], early="early" in sys.argv[2:])
