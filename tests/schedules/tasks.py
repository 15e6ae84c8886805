"""Tasks that schedules are tried with, and what they ask."""

from __future__ import annotations

import os
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from django.db import connection, transaction

from django_bgtasks import Cron, Every, Retry, task
from tests.app.models import Note


@task
def note(text: str = "tick") -> None:
    Note.objects.create(text=text)


@task(takes_context=True, retry=Retry(max_attempts=2, delays=[0]))
def note_its_tick(context: Any) -> None:
    """It fails in its first attempt."""
    Note.objects.create(text=context.tick.isoformat())
    if context.attempt == 1:
        raise ValueError("again")


@task(dedup_key="{key}")
def keyed(key: str) -> None:
    """Only one of a key is live."""


@task(dedup_key="{key}", on_duplicate="raise")
def refused(key: str) -> None:
    """Only one of a key is live, and others are refused."""


@task(schedule=Cron("0 6 * * MON-FRI", zone="Europe/Berlin"))
def digest() -> None:
    """A schedule of the code."""


@task(
    schedule=[
        Every(minutes=10),
        Cron("@daily", name="full", kwargs={"full": True}, zone="UTC"),
    ],
    aliases=("tests.schedules.tasks.synchronize",),
)
def sync(full: bool = False) -> None:
    """Two schedules of the code, and a former name."""


@task(inline=True)
def inline(text: str = "inline") -> None:
    Note.objects.create(text=text)


@task(types="django", dedup_key="{day:%Y}", label="of {day:%Y}")
def typed(day: datetime, about: Note) -> None:
    Note.objects.create(text=f"{day:%Y} {about.text}")


@task(sensitive=("secret",))
def knows(secret: str) -> None:
    """Its argument is nobody's business."""


def never(tick: datetime) -> bool:
    return False


def in_even_minutes(tick: datetime) -> bool:
    return tick.minute % 2 == 0


async def soon_in_even_minutes(tick: datetime) -> bool:
    return tick.minute % 2 == 0


def at_seven(tick: datetime) -> bool:
    """What it gets is the time in the zone of the schedule."""
    return tick.hour == 7


def raises(tick: datetime) -> bool:
    raise LookupError("no calendar for this year")


def hangs(tick: datetime) -> bool:
    time.sleep(60)
    return True


def hangs_until_a_file_is_there(tick: datetime) -> bool:
    """For a real worker: a minute, and then for good."""
    Path(os.environ["BGTASKS_TEST_DIR"], "asked").touch()
    time.sleep(60)
    return True


def leaves_a_transaction_open(tick: datetime) -> bool:
    transaction.set_autocommit(False)
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return True


def changes_the_process(tick: datetime) -> bool:
    os.umask(0)
    return True
