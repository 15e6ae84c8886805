"""The jobs and what they made, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django_bgtasks.models import Job

from ..office.templatetags.office import made_by

HEAD = ("job", "task", "queue", "state", "attempts", "wait", "took", "made")


def print_jobs() -> None:
    """Print every job in the order in which they started."""
    jobs = sorted(Job.objects.all(), key=lambda job: job.started_at or job.enqueued_at)
    rows = [HEAD, *(row_of(job) for job in jobs)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
    print()
    for number, row in enumerate(rows):
        print(line(row, widths))
        if number == 0:
            print("  ".join("─" * width for width in widths))


def row_of(job: Job) -> tuple[str, ...]:
    """The cells of one job."""
    queue = f"{job.queue} ({job.priority:+d})" if job.priority else job.queue
    made = job.error if job.state == "failed" else made_by(job)
    return (
        job.pk.hex[-8:],
        job.task.rpartition(".")[2],
        queue,
        job.state,
        str(job.attempt),
        seconds(job.enqueued_at, job.started_at),
        seconds(job.started_at, job.finished_at),
        made,
    )


def seconds(start: datetime | None, end: datetime | None) -> str:
    """The time between two moments, in seconds or milliseconds."""
    if start is None or end is None:
        return "–"
    took = (end - start).total_seconds()
    return f"{took:.1f} s" if took >= 1 else f"{took * 1000:.0f} ms"


def line(row: Sequence[str], widths: Sequence[int]) -> str:
    """One line; numbers to the right, the rest to the left."""
    cells = (
        cell.rjust(width) if name in ("attempts", "wait", "took") else cell.ljust(width)
        for name, cell, width in zip(HEAD, row, widths, strict=True)
    )
    return "  ".join(cells).rstrip()
