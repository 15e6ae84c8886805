"""A site of some zone that enqueues jobs for later; `python -m tests.worker.zoned LOG SECONDS`.

It prints the id of each job, on a line of its own.
"""

from __future__ import annotations

import sys
from datetime import timedelta

import django


def main(log: str, seconds: float) -> None:
    """One with a time, and one that asks for the same delay when it runs first."""
    django.setup()
    from django.utils import timezone

    from . import tasks

    # Naive without USE_TZ, as a view of such a site has it.
    due = timezone.now() + timedelta(seconds=seconds)
    for job in (
        tasks.record.using(run_after=due).enqueue(log, "due"),
        tasks.ask_for_later.enqueue(log, seconds),
    ):
        print(job.id)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
