"""Tasks with a rate, which put down when they start."""

from __future__ import annotations

from django_bgtasks import Rate, Retry, current_job, task

from .effects import note


def start() -> None:
    """Put it down: the first thing that a task does."""
    context = current_job()
    note("begin", str(context.job_id) if context else "")


@task(rate=Rate("often", 100, per=1), retry=Retry(max_attempts=1000, delays=[0], jitter=0))
def often(number: int) -> None:
    start()


@task(rate=Rate("few", 10, per=0.5), retry=Retry(max_attempts=1000, delays=[0], jitter=0))
def few(number: int) -> None:
    start()
