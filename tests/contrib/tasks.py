"""Tasks that other systems hear of."""

from __future__ import annotations

import logging

from django_bgtasks import task

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
