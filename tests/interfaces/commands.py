"""Commands as a person runs them, and what there is to see."""

from __future__ import annotations

from io import StringIO
from typing import Any

from django.core.management import call_command

from django_bgtasks.core import clock

from .rows import make_attempt, make_job, make_worker


def run(name: str, *arguments: object, **options: Any) -> tuple[str, int]:
    """What a command prints, and its exit code."""
    out = StringIO()
    try:
        call_command(name, *map(str, arguments), stdout=out, stderr=out, no_color=True, **options)
    except SystemExit as leaving:
        return out.getvalue(), int(str(leaving.code))
    return out.getvalue(), 0


def busy() -> None:
    """A worker that runs a job, one that waits, one that failed."""
    worker = make_worker(queues=["default", "emails"])
    make_job("running", worker=worker.pk)
    make_job("queued", enqueued_at=clock.now())
    make_attempt(make_job("failed"), exception_class="ValueError", message="[red]no[/red]")
