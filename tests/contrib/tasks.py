"""Tasks that other systems hear of."""

from __future__ import annotations

import logging
import os
import signal
import time
from contextlib import suppress
from typing import Any

import sentry_sdk

from django_bgtasks import GiveUp, Retry, RetryLater, task
from django_bgtasks.core import clock
from django_bgtasks.models import Attempt

NASTY = "a\r\nb\x1b[2J\x1b[31m\0c\x7f\x9b\u2028d"
logger = logging.getLogger("shop.orders")


class Order:
    """Something that JSON does not have."""

    def __str__(self) -> str:
        return f"order {NASTY}"


@task
def log(number: int) -> None:
    logger.info("paid %s", NASTY, extra={"number": number, "order": Order()})


@task
async def log_async(number: int) -> None:
    logger.info("paid", extra={"number": number})


@task
def log_failure() -> None:
    try:
        raise ValueError(NASTY)
    except ValueError:
        logger.exception("not paid")


@task(expected=ConnectionError, retry=Retry(max_attempts=2, delays=[0], on=ConnectionError))
def breaks_as_expected(message: str) -> None:
    raise ConnectionRefusedError(message) if message == "expected" else ValueError(message)


@task
def break_down(number: int) -> None:
    logger.warning("number %s", number)
    raise ValueError(f"broken {number}")


@task
async def break_down_async(number: int) -> None:
    logger.warning("number %s", number)
    raise ValueError(f"broken {number}")


@task(retry=Retry(max_attempts=3, delays=[0], jitter=0))
def break_down_always() -> None:
    raise ConnectionError


@task
def log_error_and_go_on() -> None:
    logger.error("noticed")


@task
def give_up() -> None:
    raise GiveUp("no use")


@task
def later() -> None:
    raise RetryLater(3600)


@task(sensitive=("iban",))
def break_down_with(iban: str, **others: Any) -> None:
    logger.error("about to pay %s", iban)
    raise ValueError(f"{iban} is refused")


@task
def answer_nonsense() -> Any:
    return object()


@task(atomic=True)
def point_nowhere() -> None:
    """Databases look after a foreign key at the COMMIT."""
    fields = {"attempt": 1, "outcome": "failed", "finished_at": clock.now()}
    Attempt.objects.create(job_id=clock.new_id(), **fields)


@task
def report_and_break_down() -> None:
    try:
        raise ValueError("reported")
    except ValueError:
        sentry_sdk.capture_exception()
        raise


@task
async def report_and_break_down_async() -> None:
    try:
        raise ValueError("reported")
    except ValueError:
        logger.exception("broken")
        raise


@task(retry=Retry(max_attempts=2, delays=[0], jitter=0))
def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@task(timeout=0.5)
def go_on_for_ever() -> None:
    while True:
        with suppress(Exception):
            time.sleep(60)
