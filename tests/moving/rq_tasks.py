"""Tasks as an app of django-rq has them."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

from django_bgtasks import task
from django_bgtasks.contrib.rq import Retry, get_current_job, job

calls: list[Any] = []


@job("emails", timeout="1m", retry=Retry(max=2, interval=[5, 10]))
def send(address: str, subject: str = "hello") -> str:
    calls.append((address, subject))
    return address


@job
async def fetch(url: str) -> str:
    await asyncio.sleep(0)
    return url.upper()


@task(queue_name="reports")
def count(number: int) -> int:
    return number + 1


def plain(*args: Any, **kwargs: Any) -> Any:
    calls.append((args, kwargs))
    return [*args]


def append_to(found: list[int]) -> None:
    found.append(1)


@job
def append_decorated(found: list[int]) -> None:
    found.append(2)


def explode(text: str = "boom") -> None:
    raise ValueError(text)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def return_retry() -> Any:
    return Retry(max=3)


def keep_meta(value: int) -> None:
    current = get_current_job()
    assert current is not None
    current.meta["value"] = value
    current.save_meta()


def note_success(job: Any, connection: Any, result: Any) -> None:
    calls.append(("success", job.id, result))


def note_failure(job: Any, connection: Any, kind: type, value: Any, traceback: Any) -> None:
    calls.append(("failure", kind.__name__, str(value)))


def refuse_result(job: Any, connection: Any, result: Any) -> None:
    raise RuntimeError("not this result")


class Report:
    def build(self) -> None:
        pass

    @classmethod
    def of_all(cls, number: int) -> str:
        return f"{cls.__name__} {number}"

    @staticmethod
    def of_none() -> str:
        return "none"


class Yearly(Report):
    pass
