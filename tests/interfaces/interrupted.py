"""Tasks whose process is interrupted while they run."""

from __future__ import annotations

import asyncio
import os
import sys
import time

from django_bgtasks import task
from tests.app.models import Note


def interrupt(number: int) -> None:
    os.kill(os.getpid(), number)


@task
def waits(number: int) -> None:
    interrupt(number)
    time.sleep(60)


@task
async def waits_side_by_side(number: int) -> None:
    interrupt(number)
    await asyncio.sleep(60)


@task(atomic=True)
def waits_in_its_transaction(number: int) -> None:
    Note.objects.create(text="undone")
    interrupt(number)
    time.sleep(60)


@task(on_crash="fail")
def waits_once(number: int) -> None:
    interrupt(number)
    time.sleep(60)


@task
def raises_ctrl_c(number: int) -> None:
    raise KeyboardInterrupt


@task
def leaves(code: int) -> None:
    sys.exit(code)
