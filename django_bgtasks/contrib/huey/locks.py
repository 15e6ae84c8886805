"""lock_task() and rate_limit(): of a whole task a limit and a rate, else a lock in the database."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from functools import update_wrapper
from typing import Any

from ...core.current import running
from ...core.errors import InvalidArguments
from ...core.limits import Limit, Rate
from .exceptions import TaskLockedException

SCOPE = "huey-lock"
# For so long a lock is remembered that nobody has released. Its owner's death releases it at once.
REMEMBERED = timedelta(days=30)


class LimitedFunction:
    """A function under lock_task() or rate_limit(). A task's decorator above it takes the limits.

    function: it. options: the limit and the rate that its task gets.
    """

    def __init__(
        self, function: Callable[..., Any], options: dict[str, Any], around: Callable[[], Any]
    ) -> None:
        self.function: Callable[..., Any] = function
        self.options, self._around = options, [around]
        if isinstance(function, LimitedFunction):
            self.function = function.function
            self.options = {**function.options, **options}
            self._around += function._around
        update_wrapper(self, self.function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it under its locks: it is no task, or one calls it."""
        with ExitStack() as stack:
            for around in self._around:
                stack.enter_context(around())
            return self.function(*args, **kwargs)


class TaskLock:
    """A name that one at a time may hold: a decorator of tasks and functions, or a context manager.

    It is a record in the database, which the death of the job that holds it releases, too. Outside
    of a job it is held for a minute at most.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._records: list[Any] = []

    def __call__(self, function: Callable[..., Any]) -> LimitedFunction:
        """The function under the lock; of a whole task it is a limit, for which jobs wait."""
        limit = Limit(_literal(self._name), at_once=1)
        return LimitedFunction(function, {"limit": limit}, lambda: TaskLock(self._name))

    def __enter__(self) -> TaskLock:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def acquire(self) -> bool:
        """Hold the name. Raises TaskLockedException if another one does."""
        from ...idempotency import records
        from ...ledger.lifecycle import ledger_database

        run, using = running.get(), ledger_database()
        owner = records.Owner(run.job.pk, run.job.attempt) if run else records.Owner()
        record = records.begin(SCOPE, self._name, "", owner, REMEMBERED, using)
        if record is None:
            found = records.find(SCOPE, self._name, "", using)
            if found is not None and records.owner_is_gone(found, owner, using):
                record = records.take_over(found, owner, using)
        if record is None:
            raise TaskLockedException(f"unable to acquire lock {self._name}")
        self._records.append(record)
        return True

    def release(self) -> None:
        """Hold it no more."""
        from ...idempotency import records
        from ...ledger.lifecycle import ledger_database

        while self._records:
            records.withdraw(self._records.pop(), ledger_database())

    clear = release

    def is_locked(self) -> bool:
        """Whether somebody holds it."""
        from ...idempotency import records
        from ...ledger.lifecycle import ledger_database

        using = ledger_database()
        record = records.find(SCOPE, self._name, "", using)
        return record is not None and not records.owner_is_gone(record, records.Owner(), using)

    locked = is_locked


class TaskRate:
    """So many starts in a period: a decorator directly under that of a task."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate

    def __call__(self, function: Callable[..., Any]) -> LimitedFunction:
        """The function for the decorator of the task above."""
        return LimitedFunction(function, {"rate": self._rate}, lambda: self)

    def __enter__(self) -> Any:
        raise InvalidArguments(
            "A rate is one of a whole task here: write @rate_limit() directly under @db_task(), or "
            "@db_task(rate=Rate('name', 10, per=60)). For a part of a task make that a task of its "
            "own. See docs/moving.md."
        )

    def __exit__(self, *_: object) -> None:
        """Never come to."""


def lock_task(lock_name: str, ttl: float | None = None) -> TaskLock:
    """Let one at a time hold this name.

    Under the decorator of a task: its jobs wait for each other if it has retries, and are cancelled
    if they cannot begin at once if it has none. Elsewhere TaskLockedException is raised at once.
    ttl changes nothing: a lock ends with the attempt that holds it, however that ends.
    """
    return TaskLock(lock_name)


def is_locked(lock_name: str) -> bool:
    """Whether somebody holds this name, in a `with lock_task()` or the like."""
    return TaskLock(lock_name).is_locked()


def rate_limit(name: str, limit: int, per: float, retry: bool = True) -> TaskRate:
    """Let so many jobs of this name begin in any `per` seconds: a decorator under that of a task.

    Those beyond wait. Raises InvalidArguments with retry=False, which would fail them.
    """
    if not retry:
        raise InvalidArguments(
            "rate_limit(retry=False) fails jobs beyond the rate. Here they wait: leave it out, and "
            "give the task expires=... if a late job is of no use. See docs/moving.md."
        )
    return TaskRate(Rate(_literal(name), limit, per=per))


def _literal(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")
