"""Tasks that lose their connection amid their work, or say odd things."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from asgiref.sync import sync_to_async
from django.db import Error, connection, transaction

from django_bgtasks import RetryLater, once, task

SERVER = {
    "postgresql": ("SELECT pg_backend_pid()", "SELECT pg_terminate_backend(%s)"),
    "mysql": ("SELECT CONNECTION_ID()", "KILL %s"),
}


def end_my_session() -> None:
    """The server ends it, and nobody here has noticed."""
    ask, kill = SERVER[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(ask)
        [session] = cursor.fetchone()
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute(kill, [session])
    finally:
        other.close()


def end_my_session_and_see() -> None:
    end_my_session()
    with contextlib.suppress(Error), connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def close() -> None:
    connection.close()


def close_the_driver() -> None:
    connection.connection.close()


LOSSES: dict[str, Callable[[], Any]] = {
    "killed": end_my_session,
    "killed and seen": end_my_session_and_see,
    "closed": close,
    "closed at the driver": close_the_driver,
}


@task(takes_context=True)
def loses_its_connection(context: Any, way: str) -> list[Any]:
    """Before each question, amid each step, and before its end."""

    def effect(name: str) -> str:
        connection.ensure_connection()
        lose()
        return name

    def lose() -> None:
        connection.ensure_connection()
        LOSSES[way]()

    lose()
    context.progress(1, 1, "it goes on")
    lose()
    context.heartbeat()
    lose()
    answers: list[Any] = [context.cancelled]
    for mode in ("at_least_once", "at_most_once"):
        lose()
        answers += [context.once(mode, effect, mode, mode=mode) for _ in range(2)]
    lose()
    answers += [context.once("atomic", str, "in one", atomic=True) for _ in range(2)]
    for _ in range(2):
        lose()
        with once(context.step_key("block")) as first:
            answers.append(first)
    if connection.vendor == "postgresql":
        lose()
    return answers


ANSWERS = [False, *["at_least_once"] * 2, *["at_most_once"] * 2, *["in one"] * 2, True, False]


@task(takes_context=True)
async def loses_its_connection_async(context: Any, way: str) -> list[Any]:
    async def effect(name: str) -> str:
        await sync_to_async(lose)()
        return name

    def lose() -> None:
        connection.ensure_connection()
        LOSSES[way]()

    answers: list[Any] = []
    await sync_to_async(lose)()
    await context.aprogress(1, 1, "it goes on")
    await sync_to_async(lose)()
    await context.aheartbeat()
    await sync_to_async(lose)()
    answers.append(await context.acancelled())
    answers += [await context.aonce("step", effect, "at_least_once") for _ in range(2)]
    return answers


@task(takes_context=True)
def loses_its_transaction(context: Any, way: str, begins: str) -> None:
    """What it did there is lost with it: it must not go on as if it had not been."""
    if begins == "atomic":
        with transaction.atomic():
            LOSSES[way]()
            context.progress(1, 1)
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT 1")
        LOSSES[way]()
        context.heartbeat()


class Odd:
    """No number, and no text."""

    def __float__(self) -> float:
        raise RuntimeError("no number")

    def __str__(self) -> str:
        raise RuntimeError("no text")


ODD: list[Any] = [
    *(float("nan"), float("inf"), float("-inf"), -1, 2**70, 10**400, "3", "many", None, 1j, b"1"),
    *(Decimal("NaN"), Decimal("sNaN"), Decimal("0.5"), Odd(), [], {}, True, 1e308, 5e-324),
]


@task(takes_context=True)
def tells_odd_progress(context: Any) -> str:
    for done in ODD:
        for total in ODD:
            context.progress(done, total, done)
            # As if half a second had gone by.
            context._clock.pop("progress", None)
    context.progress(0.5, 1.0, None)
    return "told"


@task
def charges(first: str, other: str) -> str:
    once("charge:1", str, Decimal(first))
    return once("charge:1", str, Decimal(other))


@task
def takes_milliseconds_for_seconds() -> None:
    raise RetryLater(1_767_225_600_000)
