"""Tasks whose keys are made by functions, whose jobs share keys, and that do odd things."""

from __future__ import annotations

from datetime import date
from typing import Any

from django_bgtasks import JobContext, Limit, Rate, Retry, task

KEYS_ASKED: list[str] = []


def key_of(key: Any, number: int = 0) -> Any:
    """The key that the call itself names."""
    KEYS_ASKED.append(key)
    return key


def none_at_all(key: str) -> int:
    """A number of places that depends on the key."""
    return 0 if key.startswith("closed") else 2


@task(limit=Limit(key_of, at_once=2))
def limited(key: Any, number: int = 0) -> int:
    return number


@task(limit=Limit(key_of, at_once=none_at_all, when_busy="skip"))
def impatient(key: Any, number: int = 0) -> int:
    return number


@task(sequence=key_of)
def in_order(key: Any, number: int = 0) -> int:
    if number < 0:
        raise ValueError("broke")
    return number


@task(rate=Rate(key_of, 1, per=60))
def rated(key: Any, number: int = 0) -> int:
    return number


@task(limit=Limit("desk:{desk}"), dedup_key="{paper}", on_duplicate="replace")
def put_on(desk: str, paper: str) -> str:
    return desk


@task(rate=Rate("belt:{belt}", 1, per=60), dedup_key="{thing}", on_duplicate="replace")
def put_on_belt(belt: str, thing: str) -> str:
    return belt


@task(sequence="{name}", dedup_key="{name}", dedup_scope="queued", retry=Retry(3, delays=[0]))
def refresh(name: str, fails: bool = False) -> None:
    if fails:
        raise ValueError("broke")


@task(limit=Limit("news:{news}"), rate=Rate("news", 2, per=60))
def fetch(news: int) -> int:
    return news


@task(limit=Limit("day:{day:%Y-%m-%d}"), types="django")
def close_day(day: date) -> str:
    return str(day)


@task(limit=Limit("atomic"), atomic=True)
def change(fails: bool = False) -> None:
    if fails:
        raise ValueError("broke")


@task(limit=Limit("coroutine"))
async def ask(number: int) -> int:
    return number


@task(limit=Limit("chain"), takes_context=True)
def go_on(context: JobContext, left: int) -> int:
    if left:
        go_on.enqueue(left - 1)
    return left
