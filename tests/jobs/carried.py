"""A site with a tenant, and tasks that say which one they see."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from asgiref.sync import sync_to_async
from django.utils import timezone, translation

from django_bgtasks import Carried, GiveUp, Retry, task
from django_bgtasks.carry import acurrent_user, current_user

PATH = __name__
MANY = 50
_tenant: ContextVar[Any] = ContextVar("tenant", default=None)
_region = threading.local()
CALLS: list[Any] = []


def current_tenant() -> Any:
    """That of the request, say."""
    return _tenant.get()


@contextmanager
def use_tenant(name: Any) -> Iterator[None]:
    """Within it the tenant is this one."""
    if name == "gone":
        raise LookupError("there is no such tenant")
    if name == "closed":
        raise GiveUp("the tenant is closed")
    CALLS.append(("restore", name))
    token = _tenant.set(name)
    try:
        yield
    finally:
        CALLS.append(("put back", name))
        _tenant.reset(token)


def capture_tenant() -> Any:
    """What jobs carry of it."""
    CALLS.append(("capture", _tenant.get()))
    return _tenant.get()


def current_region() -> Any:
    """One for each thread, and None where nobody has set one."""
    return getattr(_region, "name", None)


def set_region(name: Any) -> None:
    """A plain function, as many sites have them."""
    _region.name = name


def current_database() -> Any:
    """There is none outside of a request."""
    raise LookupError("no request")


@contextmanager
def twice() -> Iterator[None]:
    """What no context manager may do."""
    yield
    yield


async def use_later(value: Any) -> None:
    """What restore must not be."""


class Later:
    """A function that returns what is to be awaited."""

    def __call__(self, value: Any) -> Any:
        return asyncio.Barrier(1)


tenant = Carried("tenant", capture=capture_tenant, restore=use_tenant)
region = Carried("region", capture=current_region, restore=set_region)
database = Carried("database", capture=current_database, restore=set_region)
same_name = Carried("tenant", capture=current_region, restore=set_region)
yields_twice = Carried("twice", capture=lambda: 1, restore=lambda value: twice())
later = Carried("later", capture=lambda: 1, restore=Later())
no_carried = use_tenant


def seen() -> list[Any]:
    """What the code sees that runs here."""
    return [current_tenant(), current_region(), translation.get_language(), zone()]


def zone() -> str:
    """The active time zone."""
    return timezone.get_current_timezone_name()


@task
def see() -> list[Any]:
    CALLS.append("task")
    return seen()


@task
async def asee() -> list[Any]:
    await asyncio.sleep(0)
    return seen()


@task
async def asee_in_thread() -> list[Any]:
    return list(await sync_to_async(seen)())


@task(atomic=True)
def see_atomically() -> list[Any]:
    return seen()


@task
def leaves_another() -> None:
    _tenant.set("another")
    set_region("another")
    translation.activate("fr")


@task(timeout=0.05)
def hang() -> None:
    threading.Event().wait(30)


@task
def fail_with(value: Any) -> None:
    raise Large(value)


class Large(Exception):
    """One that may be kept alive by mistake."""


@task(dedup_key="one", on_duplicate="replace")
def see_once() -> list[Any]:
    return seen()


@task
def enqueue_another() -> None:
    see.enqueue()
    see.enqueue_many([()])


@task(retry=Retry(max_attempts=2, delays=[0]), takes_context=True)
def see_at_second(context: Any) -> list[Any]:
    if context.attempt == 1:
        raise ValueError("again")
    return seen()


@task(retry=Retry(max_attempts=2, delays=[0]), takes_context=True)
def dies_first(context: Any) -> list[Any]:
    if context.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return seen()


@task(takes_context=True)
def see_values(context: Any) -> Any:
    return context.carried


_barrier = threading.Barrier(MANY)
_abarriers: dict[Any, asyncio.Barrier] = {}


def _everything(user: Any) -> list[Any]:
    return [current_tenant(), translation.get_language(), user and user.pk]


@task(timeout=120)
def meet() -> list[Any]:
    """Begin, wait for all the others, and see whether anything has changed."""
    before = _everything(current_user())
    _barrier.wait(100)
    return [before, _everything(current_user())]


@task(timeout=120)
async def ameet() -> list[Any]:
    """meet(), as a coroutine."""
    before = _everything(None)[:2]
    loop = asyncio.get_running_loop()
    await _abarriers.setdefault(loop, asyncio.Barrier(MANY)).wait()
    return [before, await sync_to_async(_everything)(await acurrent_user())]


@task(priority=-10)
def see_everything() -> list[Any]:
    return _everything(current_user())


@task(priority=-10)
async def asee_everything() -> list[Any]:
    return _everything(await acurrent_user())
