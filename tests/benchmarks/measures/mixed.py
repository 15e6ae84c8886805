"""How long short jobs wait behind a long one while another process is idle."""

from __future__ import annotations

from pathlib import Path

from django_bgtasks.models import Job
from tests.waiting import wait_until

from .. import tasks
from .tools import Figures, lines_of, new_log, worker

WARM, SHORT, SLOW_SECONDS, ROUNDS = 200, 15, 5.0, 3


def mixed(directory: Path) -> Figures:
    """From the begin of a job of 5 s until the last of 15 short ones behind it begins."""
    waits = []
    with worker(directory, "--processes", 2, "--verbosity", 0):
        for _ in range(ROUNDS):
            log, slow = new_log(directory), new_log(directory)
            # The worker learns that the jobs of this queue are short.
            tasks.note_begin.enqueue_many([(str(log),)] * WARM)
            wait_until(lambda: not Job.objects.live().exists())
            tasks.note_begin.enqueue_many(
                [(str(slow), SLOW_SECONDS), *[(str(log),) for _ in range(SHORT)]]
            )
            wait_until(lambda: len(lines_of(log)) == WARM + SHORT)  # noqa: B023
            last = max(float(line) for line in lines_of(log))
            waits.append((last - float(lines_of(slow)[0])) * 1000)
            wait_until(lambda: not Job.objects.live().exists())
    return {"best ms": min(waits), "worst ms": max(waits)}
