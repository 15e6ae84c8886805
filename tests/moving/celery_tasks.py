"""Tasks as apps of Celery's have them; the tests run them by django_bgtasks."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from django_bgtasks.contrib.celery import (
    Task,
    current_app,
    current_task,
    group,
    shared_task,
)
from django_bgtasks.contrib.celery.exceptions import (
    Ignore,
    Reject,
    SoftTimeLimitExceeded,
)
from django_bgtasks.contrib.celery.result import AsyncResult, allow_join_result

SEEN: list[Any] = []


@shared_task
def add(x: Any, y: Any) -> Any:
    """Add two values."""
    return x + y


@shared_task
def fail(text: str = "no") -> None:
    """Fail."""
    raise ValueError(text)


class TwoArguments(Exception):
    """Takes more than a text."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code


class OwnText(Exception):
    """Makes its text of what it was made of."""

    def __init__(self, *, code: int) -> None:
        self.code = code

    def __str__(self) -> str:
        return f"code {self.code}"


class OfSystem(OSError):
    """Is one of the errors that are made in a way of their own."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(f"{host}:{port}")


class ByName(Exception):
    """Is made in a way of its own."""

    def __new__(cls, *, text: str) -> ByName:
        """Take it by name only."""
        return super().__new__(cls, text)

    def __init__(self, *, text: str) -> None:
        super().__init__(text)


@shared_task
def raising(kind: str) -> None:
    """Raise what cannot be made of a text."""
    if kind == "unicode":
        b"\xff".decode()
    raise {
        "two arguments": TwoArguments(7, "bad"),
        "of its own text": OwnText(code=7),
        "of the system": OfSystem("db", 1),
        "by name": ByName(text="bad"),
        "key": KeyError("bad"),
    }[kind]


@shared_task(bind=True)
def with_request(self: Any, _request: str) -> Any:
    """Take an argument with a name that is near."""
    return _request, self.request.headers


@shared_task
def total(values: list[Any]) -> Any:
    """Add all of them."""
    return sum(values)


@shared_task
def note(*args: Any, **kwargs: Any) -> Any:
    """Note what it is called with."""
    SEEN.append((args, kwargs))
    return list(args)


@shared_task(bind=True, max_retries=3, default_retry_delay=7)
def retrying(self: Any, until: int = 99) -> Any:
    """Ask for another try until so many were made."""
    SEEN.append(self.request.retries)
    try:
        if self.request.retries < until:
            raise ConnectionError("away")
    except ConnectionError as error:
        raise self.retry(exc=error) from error
    return self.request.retries


@shared_task(bind=True, max_retries=1)
def retrying_without_reason(self: Any) -> None:
    """Ask for another try and say nothing."""
    self.retry(countdown=0)


@shared_task(bind=True, max_retries=1)
def retrying_more_often(self: Any) -> Any:
    """Say itself how often it may be retried."""
    SEEN.append(self.request.retries)
    raise self.retry(countdown=0, max_retries=5, exc=KeyError("x"))


@shared_task(
    autoretry_for=(ConnectionError,),
    dont_autoretry_for=(ConnectionRefusedError,),
    retry_backoff=True,
    retry_backoff_max=5,
    retry_jitter=False,
    retry_kwargs={"max_retries": 5},
)
def fetch(kind: str = "reset") -> None:
    """Fail as networks do."""
    SEEN.append(kind)
    raise {"reset": ConnectionResetError, "refused": ConnectionRefusedError, "x": KeyError}[kind]


@shared_task(bind=True)
def describe(self: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """What it knows of its call."""
    request = self.request
    return {
        "id": request.id,
        "retries": request.retries,
        "args": request.args,
        "kwargs": request.kwargs,
        "headers": request.headers,
        "queue": (request.delivery_info or {}).get("routing_key"),
        "priority": (request.delivery_info or {}).get("priority"),
        "directly": request.called_directly,
        "eager": request.is_eager,
        "name": self.name,
        "current": current_task.request.id,
        "max_retries": self.max_retries,
    }


class Hooked(Task):
    """Notes what is called around its tasks."""

    prefix = "hooked"

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        """Before."""
        SEEN.append(("before_start", args))

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        """A success."""
        SEEN.append(("on_success", retval, kwargs))

    def on_retry(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """A retry."""
        SEEN.append(("on_retry", repr(exc)))

    def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """A failure."""
        SEEN.append(("on_failure", repr(exc), list(args), "Traceback" in str(einfo)))

    def after_return(
        self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any
    ) -> None:
        """After."""
        SEEN.append(("after_return", status))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Around the function."""
        SEEN.append(("call", self.prefix))
        return super().__call__(*args, **kwargs)


@shared_task(base=Hooked, bind=True, max_retries=1, default_retry_delay=0)
def hooked(self: Any, what: str, more: int = 0) -> Any:
    """Do one of three."""
    if what == "retry":
        raise self.retry(exc=OSError("again"))
    if what == "fail":
        raise LookupError("gone")
    return what


@shared_task(bind=True)
def stopping(self: Any, how: str) -> Any:
    """End in one of Celery's ways."""
    if how == "ignore":
        raise Ignore
    if how == "reject":
        raise Reject("not now")
    if how == "failed":
        self.update_state(state="FAILURE", meta={"exc_type": "E", "exc_message": "by hand"})
        raise Ignore
    self.update_state(state="PROGRESS", meta={"current": 3, "total": 10})
    SEEN.append((self.AsyncResult(self.request.id).state, self.AsyncResult(self.request.id).info))
    return "done"


@shared_task(soft_time_limit=1, time_limit=20)
def slow() -> str:
    """Clean up when its time is over."""
    import time

    try:
        time.sleep(15)
    except SoftTimeLimitExceeded:
        return "cleaned up"
    return "too late"


@shared_task
def report(request: Any, error: BaseException, traceback: str) -> None:
    """An errback of the new kind."""
    SEEN.append(("errback", request.id, repr(error), "Traceback" in traceback))


@shared_task
def report_id(task_id: str) -> None:
    """An errback of the old kind."""
    SEEN.append(("errback", task_id))


@shared_task(bind=True)
def again_with(self: Any, number: int, factor: int = 1) -> Any:
    """Be retried with another argument."""
    if number < 3:
        raise self.retry(args=[number + 1], kwargs={"factor": 2}, countdown=0)
    return number * factor


@shared_task(name="shop.renamed", queue="emails", priority=7, expires=3600, ignore_result=True)
def renamed() -> str:
    """Have a name of its own."""
    return "renamed"


@shared_task
def fan_out(count: int) -> str:
    """Enqueue a group."""
    return str(group(add.s(number, 1) for number in range(count)).apply_async().id)


@shared_task(base=Hooked)
def dying(path: str) -> None:
    """Kill its process."""
    os.kill(os.getpid(), signal.SIGKILL)


@shared_task(base=Hooked, bind=True, acks_late=False)
def dying_once(self: Any, path: str) -> None:
    """Kill its process; it was acknowledged before."""
    os.kill(os.getpid(), signal.SIGKILL)


@shared_task(bind=True)
def write_failure(self: Any, request: Any, error: BaseException, traceback: str, path: str) -> None:
    """An errback with an argument of its own."""
    Path(path).write_text(f"{request.id} {type(error).__name__}")


@shared_task(bind=True)
def showing(self: Any, path: str) -> str:
    """Show a state until a file is there."""
    self.update_state(state="PROGRESS", meta={"current": 1, "total": 4})
    while not Path(path).exists():
        time.sleep(0.02)
    return "shown"


@shared_task(time_limit=1)
def endless() -> None:
    """Swallow what ends it."""
    while True:
        try:
            time.sleep(60)
        except Exception:
            continue


class Counting(Task):
    """A task that is a class."""

    name = "shop.counting"
    max_retries = 1

    def run(self, number: int) -> int:
        """Count."""
        if number < 0:
            raise self.retry(countdown=0)
        return number + 1


counting = current_app.register_task(Counting())


@shared_task
def waiting(path: str) -> Any:
    """Wait for another task."""
    if path == "allowed":
        with allow_join_result():
            return AsyncResult("0190a4b2-0000-7000-8000-000000000000").get(timeout=0.01)
    return add.delay(1, 2).get(timeout=1)
