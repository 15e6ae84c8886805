"""Tasks of workflows. Their results are the numbers of their claims, as the oracle wants them."""

from __future__ import annotations

from typing import Any

from django_bgtasks import GiveUp, Retry, batch, current_job, task

from . import tasks
from .strikes import strike

# A crash costs an attempt, and these processes are killed all the time.
OFTEN = Retry(max_attempts=1000, delays=[0], jitter=0)
plain, atomic = tasks.plain.using(retry=OFTEN), tasks.atomic.using(retry=OFTEN)


def claims() -> int:
    context = current_job()
    assert context is not None
    return context.job.claims


@task(retry=OFTEN)
def gives_up() -> None:
    raise GiveUp("as ordered")


@task(retry=OFTEN, atomic=True, takes_context=True)
def split(context: Any, count: int, name: str) -> int:
    """Adds so many parts, with its settlement: however often it is repeated."""
    context.batch[name].add(plain.step() for _ in range(count))
    strike("in body")
    return claims()


@task(retry=OFTEN)
def mail(count: int) -> int:
    """Enqueues a batch, and may die before its block has ended."""
    with batch("mailing", on_complete=atomic.step()) as mailing:
        for number in range(count):
            plain.using(batch=mailing).enqueue()
            if number == count // 2:
                strike("in body")
    return claims()
