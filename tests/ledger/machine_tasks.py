"""Tasks of the state machine. None of them ever runs: the machine plays the worker."""

from __future__ import annotations

from datetime import timedelta

from django_bgtasks import Retry, task

AT_ONCE = Retry(max_attempts=5, delays=[0], jitter=0)
TWICE = Retry(max_attempts=2, delays=[0], jitter=0)


@task(retry=AT_ONCE)
def plain() -> None:
    """Without a dedup key."""


@task(retry=TWICE, on_crash="fail")
def careful() -> None:
    """Must not begin twice."""


@task(retry=TWICE, dedup_key="{key}")
def while_live(key: str) -> None:
    """Holds its key until it is final."""


@task(retry=TWICE, dedup_key="{key}", dedup_scope="queued")
def while_queued(key: str) -> None:
    """Holds its key while it waits."""


@task(retry=TWICE, dedup_key="{key}", dedup_scope=timedelta(hours=1))
def for_an_hour(key: str) -> None:
    """Holds its key until it is final and its window is over."""
