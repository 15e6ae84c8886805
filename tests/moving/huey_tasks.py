"""Tasks as an app of Huey has them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from django_bgtasks.contrib.huey import (
    CancelExecution,
    RetryTask,
    TaskLockedException,
    crontab,
    db_periodic_task,
    db_task,
    lock_task,
    on_commit_task,
    periodic_task,
    rate_limit,
    task,
)

calls: list[Any] = []


@db_task(retries=2, retry_delay=10, retry_backoff=3, priority=7, timeout=30)
def water(liters: int, kind: str = "rain") -> int:
    calls.append((liters, kind))
    return liters


@task()
def append_to(found: list[int]) -> None:
    found.append(1)


@task()
def pair(number: int) -> tuple[int, int]:
    return number, number + 1


@task()
def add(*numbers: int) -> int:
    return sum(numbers)


@task()
def total(numbers: list[int]) -> int:
    return sum(numbers)


@task()
def named() -> dict[str, int]:
    return {"liters": 5}


@task()
def explode() -> None:
    raise ValueError("boom")


@task(retries=1)
def retried(task: Any = None) -> None:
    raise ValueError("boom")


@task(context=True)
def own_id(greeting: str, task: Any) -> str:
    return f"{greeting} {task.id}"


@task()
def later() -> None:
    raise RetryTask(delay=60)


@task()
def stop() -> None:
    raise CancelExecution("no", retry=False)


@db_periodic_task(crontab(minute="0", hour="3"), retries=1)
@lock_task("prune")
def prune() -> None:
    calls.append("prune")


@periodic_task(crontab(minute="*/15"))
@lock_task("check")
def check() -> None:
    calls.append("check")


@task()
@rate_limit("mails", 10, per=60)
def mail() -> None:
    pass


@task()
def locked_inside() -> Any:
    with lock_task("inside"):
        try:
            with_helper()
        except TaskLockedException:
            return "locked"
    return with_helper()


@lock_task("helper")
def with_helper() -> str:
    return "free"


def logged(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator of a site's own, between a task and its lock."""

    def decorate(function: Any) -> Any:
        @functools.wraps(function)
        @lock_task(name)
        def wrapper() -> Any:
            calls.append("logged")
            return function()

        return wrapper

    return decorate


@db_periodic_task(crontab(minute="0"))
@logged("nightly")
def nightly() -> str:
    return "night"


@task(name="not-a-path of any kind")
def odd() -> str:
    return "odd"


@task(name="former")
def renamed() -> str:
    return "renamed"


def update() -> str:
    return "updated"


update_now = task(name="update")(update)
update_on_commit = on_commit_task(name="update_on_commit")(update)
