"""A site that enqueues one job in a transaction; run as a process of its own, to be struck.

`python -m tests.faults.producer TASK`
"""

from __future__ import annotations

import sys

import django
from django.db import transaction


def main(name: str) -> None:
    """Enqueue and commit."""
    django.setup()
    from . import tasks

    with transaction.atomic():
        getattr(tasks, name).enqueue()


if __name__ == "__main__":
    main(sys.argv[1])
