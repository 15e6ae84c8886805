"""The retry policy of a task: how often a failed job runs again, and when."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from pkgutil import resolve_name
from random import Random
from typing import Any, Literal

from .payload import plain
from .spans import span_of

Exceptions = tuple[type[BaseException], ...]

# Of a Retry, what holds classes.
CLASSES = ("on", "not_on")
CLASSIC_DELAYS = (60.0, 300.0, 900.0)
MAX_CRASHES = 3


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and when a failed job runs again.

    max_attempts: tries in all, the first one included; default: one more than `delays`.
    delays: seconds before each further attempt; the last one repeats. Default 60, 300, 900.
    backoff: "exponential" waits base, 2·base, 4·base … seconds, at most `cap`, instead of `delays`.
    jitter: each delay is changed at random by up to this share of it, so that jobs that failed
        together do not run together again.
    on, not_on: retry only these exceptions; never these.

    A crash (the worker died) is no exception: it is retried at once while attempts are left,
    three crashes at most.
    """

    max_attempts: int = 0
    delays: Iterable[float] = ()
    backoff: Literal["exponential"] | None = None
    base: float = 10.0
    cap: float = 3600.0
    jitter: float = 0.1
    on: type[BaseException] | Iterable[type[BaseException]] = (Exception,)
    not_on: type[BaseException] | Iterable[type[BaseException]] = ()

    def __post_init__(self) -> None:
        spans = [span_of(delay, "Retry: a delay") for delay in self.delays]
        delays = tuple(span.total_seconds() for span in spans) or CLASSIC_DELAYS
        object.__setattr__(self, "delays", delays)
        for name in ("base", "cap"):
            seconds = span_of(getattr(self, name), f"Retry: {name}").total_seconds()
            object.__setattr__(self, name, seconds)
        object.__setattr__(self, "on", exceptions("Retry: on", self.on))
        object.__setattr__(self, "not_on", exceptions("Retry: not_on", self.not_on))
        object.__setattr__(self, "max_attempts", plain(self.max_attempts) or len(delays) + 1)
        self._check()

    def _check(self) -> None:
        if not isinstance(self.max_attempts, int) or not 1 <= self.max_attempts <= 10_000:
            raise ValueError(f"Retry: max_attempts must be 1 to 10000, not {self.max_attempts!r}.")
        if self.backoff not in (None, "exponential"):
            raise ValueError(f"Retry: backoff must be 'exponential' or None, not {self.backoff!r}.")
        if not (self.base and self.cap):
            raise ValueError("Retry: base and cap are seconds and must be above 0.")
        if not isinstance(self.jitter, int | float) or not 0 <= self.jitter <= 1:
            raise ValueError(f"Retry: jitter is a share between 0 and 1, not {self.jitter!r}.")

    def wants(self, error: BaseException) -> bool:
        """Whether this exception is one to retry."""
        return isinstance(error, tuple(self.on)) and not isinstance(error, tuple(self.not_on))  # type: ignore[arg-type]

    def next_delay(self, attempt: int, rng: Random) -> timedelta:
        """Wait before the attempt that follows `attempt` (1 is the first)."""
        delays = tuple(self.delays)
        seconds = delays[min(attempt, len(delays)) - 1]
        if self.backoff == "exponential":
            # 2**60 seconds is beyond any cap; a larger exponent would overflow a float.
            seconds = min(self.cap, self.base * 2.0 ** min(attempt - 1, 60))
        return timedelta(seconds=seconds * (1.0 + self.jitter * rng.uniform(-1.0, 1.0)))


def exceptions(name: str, value: type[BaseException] | Iterable[type[BaseException]]) -> Exceptions:
    """One class of exceptions or several, as a tuple; ValueError for what is none."""
    classes = (value,) if isinstance(value, type) else tuple(value)
    for cls in classes:
        if not (isinstance(cls, type) and issubclass(cls, BaseException)):
            raise ValueError(f"{name} takes exception classes, not {cls!r}.")
    return classes


# Without a policy of its own a task is not run again after an exception, for nobody said that
# this is safe; after a crash it is, or a deploy would lose jobs.
DEFAULT_RETRY = Retry(max_attempts=MAX_CRASHES, on=())


def stored_retry(retry: Retry) -> dict[str, Any]:
    """The policy as a job's row keeps it. ValueError for a class that no worker could import."""
    stored: dict[str, Any] = {}
    for option in fields(Retry):
        value = getattr(retry, option.name)
        if option.name in CLASSES:
            stored[option.name] = [_stored_class(option.name, cls) for cls in value]
        else:
            stored[option.name] = list(value) if isinstance(value, tuple) else value
    return stored


def retry_of(stored: Mapping[str, Any] | None, task: Any) -> Retry:
    """The policy of a job: its own, if it was enqueued with one, or its task's.

    What cannot be imported here can be raised by nobody here.
    """
    if stored is None:
        own: Retry = getattr(task, "retry", DEFAULT_RETRY)
        return own
    known = {option.name for option in fields(Retry)}
    values = {name: value for name, value in stored.items() if name in known}
    for name in CLASSES:
        values[name] = [cls for path in values.get(name, ()) if (cls := _class_at(path))]
    return Retry(**values)


def _stored_class(name: str, cls: type[BaseException]) -> str:
    path = f"{cls.__module__}:{cls.__qualname__}"
    if _class_at(path) is not cls:
        raise ValueError(
            f"Retry: {name} has {cls!r}, which a worker could not import from {cls.__module__}. "
            f"Define it at the top level of its module."
        )
    return path


def _class_at(path: str) -> Any:
    try:
        return resolve_name(path)
    except Exception:
        return None
