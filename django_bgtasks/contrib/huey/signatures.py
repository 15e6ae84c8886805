"""Calls for later, and pipelines of them: `task.s(1).then(other)`, group() and chord()."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from ...core.errors import InvalidArguments
from .performing import changes_of

# What a call may change of its task.
CALL_OPTIONS = (
    *("id", "eta", "delay", "retries", "retry_delay", "retry_backoff"),
    *("priority", "expires", "timeout"),
)
_NO_ERROR_STEP = (
    ".error() has no equal: give the task on_failure, as in @db_task(on_failure=tell_somebody), a "
    "function of (context, outcome). See docs/moving.md."
)


class HueySignature:
    """A call of a task for later; what `task.s(...)` gives.

    of_task: the task. on_complete: the call that follows it, with its result.
    """

    def __init__(
        self,
        of_task: Any,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        options: Mapping[str, Any],
    ) -> None:
        self.of_task, self.args, self.kwargs = of_task, tuple(args), dict(kwargs)
        self.on_complete: HueySignature | None = None
        # Of its job, when that is enqueued.
        self.id = ""
        if options.get("id"):
            raise InvalidArguments(
                "id= has no equal: a job has the id of its row. For at most one job of a name "
                "write @db_task(dedup_key='...'). See docs/moving.md."
            )
        self.options = {name: value for name, value in options.items() if value is not None}

    def __repr__(self) -> str:
        return f"<HueySignature {self.name} args={self.args!r} kwargs={self.kwargs!r}>"

    @property
    def name(self) -> str:
        """The name of the task."""
        return str(self.of_task.name)

    @property
    def data(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments."""
        return self.args, self.kwargs

    def then(self, following: Any, *args: Any, **kwargs: Any) -> Self:
        """Let this follow at the end of the pipeline; the result comes behind its arguments."""
        last: HueySignature = self
        while last.on_complete is not None:
            last = last.on_complete
        last.on_complete = call_of_task(following, args, kwargs)
        return self

    def error(self, *_args: Any, **_kwargs: Any) -> Self:
        """Raise InvalidArguments: see docs/moving.md."""
        raise InvalidArguments(_NO_ERROR_STEP)

    def pipeline(self) -> list[HueySignature]:
        """This call and those that follow it."""
        rest = [] if self.on_complete is None else self.on_complete.pipeline()
        return [self, *rest]

    def changes(self) -> dict[str, Any]:
        """What this call changes of its task, as using() takes it."""
        return {**self.of_task.changes_with(self.options), **changes_of(self.options)}

    @property
    def is_later(self) -> bool:
        """Whether it is for another time than now."""
        return "eta" in self.options or "delay" in self.options


class HueyGroup:
    """Calls at the same time."""

    def __init__(self, tasks: Sequence[Any]) -> None:
        self.tasks = list(tasks)

    def then(self, following: Any, *args: Any, **kwargs: Any) -> HueyChord:
        """Let this follow when all of them have succeeded, with the list of their results."""
        return HueyChord(self.tasks, call_of_task(following, args, kwargs))

    def error(self, *_args: Any, **_kwargs: Any) -> Self:
        """Raise InvalidArguments: see docs/moving.md."""
        raise InvalidArguments(_NO_ERROR_STEP)


class HueyChord:
    """Calls at the same time, and a callback that gets the list of their results."""

    def __init__(self, tasks: Sequence[Any], callback: Any) -> None:
        self.tasks, self.callback = list(tasks), call_of_task(callback, (), {})

    def then(self, following: Any, *args: Any, **kwargs: Any) -> Self:
        """Let this follow the callback."""
        self.callback.then(following, *args, **kwargs)
        return self

    def error(self, *_args: Any, **_kwargs: Any) -> Self:
        """Raise InvalidArguments: see docs/moving.md."""
        raise InvalidArguments(_NO_ERROR_STEP)


def call_of_task(target: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> HueySignature:
    """The call that is meant: one that is there already, or one of this task."""
    if isinstance(target, HueySignature):
        target.args += tuple(args)
        target.kwargs.update(kwargs)
        return target
    found: HueySignature = target.s(*args, **kwargs)
    return found
