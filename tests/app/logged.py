"""Tasks that log, and whose jobs keep what they log."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from asgiref.sync import sync_to_async

from django_bgtasks import GiveUp, Retry, RetryLater, task

logger = logging.getLogger("shop.orders")
silent = logging.getLogger("shop.silent")
NOTHING, LONG = timedelta(0), timedelta(days=1)
AT_ONCE = Retry(max_attempts=3, delays=[0], jitter=0)


def in_thread() -> None:
    logger.info("in a thread of the task's own")


@task(log=True)
def says(*lines: str, level: str = "INFO", fails: bool = False) -> int:
    for line in lines:
        logger.log(getattr(logging, level), "%s", line)
    if fails:
        raise GiveUp("as asked")
    return len(lines)


@task(log=True)
def says_with_loggers() -> None:
    logging.getLogger().info("root")
    silent.info("no propagation")
    logger.debug("not this one")
    logging.getLogger("shop.disabled").error("nor this one")
    try:
        raise LookupError("deep")
    except LookupError:
        logger.exception("with its traceback")


@task(log=True, retry=AT_ONCE, takes_context=True)
def says_in_each_attempt(context: Any) -> None:
    logger.warning("attempt %d", context.attempt)
    if context.attempt < 3:
        raise ValueError("again")


@task(log=True)
def says_and_waits() -> None:
    logger.info("later, please")
    raise RetryLater(60)


@task(log=True, sensitive=("iban",))
def says_what_is_sensitive(iban: str) -> None:
    logger.info("paid %s", iban)
    logger.info("%s%s", "x" * 8150, iban)


@task(log=True, atomic=True)
def says_atomically(fails: bool) -> None:
    logger.info("within")
    if fails:
        raise ValueError("rolled back")


@task(log=False)
def says_nothing() -> None:
    logger.warning("unheard")


@task
def says_by_option() -> None:
    logger.warning("heard by option")


@task(log=True)
def says_from_threads() -> None:
    thread = threading.Thread(target=in_thread)
    thread.start()
    thread.join()
    logger.info("in the task")


@task(log=True)
async def says_side_by_side(name: str, gate: str, number: int) -> None:
    """Each waits for all others between its two lines."""
    logger.info("begin %s", name)
    Path(f"{gate}.{name}").touch()
    while len(list(Path(gate).parent.glob(f"{Path(gate).name}.*"))) < number:
        await asyncio.sleep(0.01)
    await sync_to_async(logger.info)("thread %s", name)
    await asyncio.gather(*(_says(f"child {name}") for _ in range(2)))


@task(log=True)
def says_in_threads(name: str, gate: str, number: int) -> None:
    logger.info("begin %s", name)
    Path(f"{gate}.{name}").touch()
    while len(list(Path(gate).parent.glob(f"{Path(gate).name}.*"))) < number:
        time.sleep(0.01)
    logger.info("end %s", name)


async def _says(text: str) -> None:
    logger.info("%s", text)


@task(log=True, takes_context=True, on_crash="fail")
def says_and_dies(context: Any) -> None:
    logger.info("before the progress")
    context.progress(1, 3)
    logger.info("after it")
    os.kill(os.getpid(), signal.SIGKILL)


@task(log=True)
def says_hostile() -> None:
    logger.info("NUL \0 and \ud800")
    logger.info("%d", "no number")
    logger.info(Wordless())
    logger.info("%s", Wordless())


class Wordless:
    """What cannot be said."""

    def __str__(self) -> str:
        raise LookupError("no words")


@task(log=True)
def says_on_a_loop_of_its_own() -> None:
    asyncio.run(_says("on a loop"))
