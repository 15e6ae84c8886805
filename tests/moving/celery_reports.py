"""Tasks from what users of Celery have reported of it."""

from __future__ import annotations

from typing import Any

from django_bgtasks.contrib.celery import Task, chain, chord, group, shared_task
from django_bgtasks.contrib.celery.exceptions import MaxRetriesExceededError

SEEN: list[Any] = []


@shared_task
def see(*args: Any) -> Any:
    """Note the call."""
    SEEN.append(args)
    return args


@shared_task
def give(value: Any = None) -> Any:
    """Return the argument."""
    return value


@shared_task
def break_down(*args: Any) -> None:
    """Fail."""
    raise RuntimeError("broken")


@shared_task(throws=(LookupError,))
def expected_failure() -> None:
    """Fail as expected."""
    raise LookupError("expected")


@shared_task(autoretry_for=(RuntimeError,), retry_kwargs={"max_retries": 2, "countdown": 0})
def autoretry_to_the_end() -> None:
    """Try to catch what is raised outside of it."""
    SEEN.append("try")
    try:
        raise RuntimeError("not yet")
    except MaxRetriesExceededError:
        SEEN.append("caught")


@shared_task(bind=True, autoretry_for=(Exception,), default_retry_delay=0)
def explicit_within_autoretry(self: Any, number: int = 0) -> int:
    """Ask for a retry with other arguments."""
    if number < 2:
        raise self.retry(args=(number + 1,), countdown=0)
    return number


@shared_task(bind=True, autoretry_for=(Exception,), default_retry_delay=0)
def explicit_end_within_autoretry(self: Any) -> None:
    """Say that there is no further retry."""
    SEEN.append("try")
    raise self.retry(exc=RuntimeError("for good"), max_retries=0)


@shared_task(bind=True, max_retries=None, default_retry_delay=0)
def endless(self: Any, times: int) -> int:
    """Be retried more often than three times."""
    if self.request.retries < times:
        raise self.retry()
    return int(self.request.retries)


@shared_task
def launch_chain() -> str:
    """Enqueue a chain with a group in it."""
    chain(group(give.si(1), give.si(2)), see.s()).apply_async()
    return "launched"


@shared_task
def launch_chord() -> str:
    """Enqueue a chord."""
    chord([give.s(1), give.s(2)], see.s()).apply_async()
    return "launched"


@shared_task(bind=True)
def tells_its_state(self: Any) -> str:
    """Update its state, also where it is called directly."""
    self.update_state(state="PROGRESS", meta={"done": 1})
    return "told"


class WithRetries(Task):
    """A base class from a tutorial."""

    autoretry_for = (RuntimeError,)
    retry_kwargs = {"max_retries": 1, "countdown": 0}  # noqa: RUF012
    retry_backoff = True
    retry_backoff_max = 700
    retry_jitter = False

    def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """A failure."""
        SEEN.append(f"{task_id} failed: {exc}")


@shared_task(bind=True, base=WithRetries)
def of_a_base(self: Any) -> None:
    """Fail."""
    SEEN.append(self.request.retries)
    raise RuntimeError("base")


class AwareMixin:
    """A mixin beside the base class."""

    def apply_async_on_commit(self, *args: Any, **kwargs: Any) -> None:
        """Note that the mixin's was called."""
        SEEN.append(("mixin", args, kwargs))


class Aware(AwareMixin, Task):
    """A base with a mixin before it."""


@shared_task(base=Aware)
def mixed_in() -> None:
    """Do nothing."""


@shared_task(bind=True, name="reports.scoped")
def scoped(self: Any, **kwargs: Any) -> dict[str, Any]:
    """Take any keyword argument."""
    return {**kwargs, "headers": self.request.headers}


@shared_task(bind=True, default_retry_delay=0)
def retries_beside(self: Any, numbers: list[int]) -> int:
    """Let those wait that fail, and go on."""
    for number in numbers:
        if number < 0 and self.request.retries < 2:
            self.retry(args=[[number]], throw=False)
    return int(self.request.retries)


@shared_task(typing=False)
def unchecked(number: int) -> int:
    """Be called with anything."""
    return number


@shared_task
def shapes(pair: Any, table: Any) -> Any:
    """Give back what arrives, with its types."""
    return {"pair": pair, "table": table, "types": (type(pair).__name__, sorted(table))}


@shared_task
def unstorable() -> object:
    """Return what no row can have."""
    return object()
