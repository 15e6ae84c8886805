"""Tasks that schedules are tried with."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django_bgtasks import Cron, Every, Retry, task
from tests.app.models import Note


@task
def note(text: str = "tick") -> None:
    Note.objects.create(text=text)


@task(takes_context=True)
def its_tick(context: Any) -> str:
    return str(context.tick)


@task(dedup_key="{key}")
def keyed(key: str) -> None:
    """Only one of a key is live."""


@task(schedule=Cron("0 6 * * MON-FRI", zone="Europe/Berlin"))
def digest() -> None:
    """A schedule of the code."""


@task(
    schedule=[
        Every(minutes=10),
        Cron("@daily", name="full", kwargs={"full": True}, zone="UTC"),
    ],
    retry=Retry(max_attempts=3),
)
def sync(full: bool = False) -> None:
    """Two schedules of the code."""


@task(inline=True)
def inline() -> None:
    """Runs where it is enqueued, if no schedule does that."""


@task(types="django", dedup_key="{day}")
def typed(day: datetime, length: timedelta) -> str:
    return f"{day:%Y} {length}"
