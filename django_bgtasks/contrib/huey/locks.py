"""lock_task() and rate_limit(): here a lock is a limit of the task, and a rate is its rate."""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from typing import Any

from ...core.errors import InvalidArguments
from ...core.limits import Limit, Rate


class LimitedFunction:
    """A function under lock_task() or rate_limit(), which a task's decorator is to take.

    function: it. options: the limit or rate that its task gets.
    """

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]) -> None:
        self.function: Callable[..., Any] = function
        self.options = options
        if isinstance(function, LimitedFunction):
            self.function, self.options = function.function, {**function.options, **options}
        update_wrapper(self, self.function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Raise InvalidArguments: nothing would be locked."""
        raise InvalidArguments(_ONLY_TASKS)


class TaskLimit:
    """What lock_task() and rate_limit() make: a decorator, and no context manager."""

    def __init__(self, **options: Any) -> None:
        self._options = options

    def __call__(self, function: Callable[..., Any]) -> LimitedFunction:
        """The function for the decorator of the task above."""
        return LimitedFunction(function, self._options)

    def __enter__(self) -> Any:
        raise InvalidArguments(_ONLY_TASKS)

    def __exit__(self, *_: object) -> None:
        """Never come to."""


_ONLY_TASKS = (
    "A lock is a limit of a whole task here, which no crash leaves behind: write @lock_task() and "
    "@rate_limit() directly under @db_task(), or @db_task(limit=Limit('name', at_once=1)). For a "
    "part of a task make that a task of its own. See docs/moving.md."
)


def lock_task(lock_name: str, ttl: float | None = None) -> TaskLimit:
    """Let one job at a time hold this name: a decorator under that of a task.

    A task with retries waits for the other; one without is cancelled if it cannot begin at once.
    ttl changes nothing: the place of a job is free when it ends, however it ends.
    """
    return TaskLimit(limit=Limit(lock_name.replace("{", "{{").replace("}", "}}"), at_once=1))


def rate_limit(name: str, limit: int, per: float, retry: bool = True) -> TaskLimit:
    """Let so many jobs of this name begin in any `per` seconds: a decorator under that of a task.

    Those beyond wait. Raises InvalidArguments with retry=False, which would fail them.
    """
    if not retry:
        raise InvalidArguments(
            "rate_limit(retry=False) fails jobs beyond the rate. Here they wait: leave it out, and "
            "give the task expires=... if a late job is of no use. See docs/moving.md."
        )
    return TaskLimit(rate=Rate(name.replace("{", "{{").replace("}", "}}"), limit, per=per))
