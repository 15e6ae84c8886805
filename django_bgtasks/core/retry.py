"""The retry policy of a task: how often a failed job runs again, and when."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import Literal

from .payload import plain
from .spans import span_of

Exceptions = tuple[type[BaseException], ...]

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
        object.__setattr__(self, "on", _exceptions("on", self.on))
        object.__setattr__(self, "not_on", _exceptions("not_on", self.not_on))
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


def _exceptions(
    name: str, value: type[BaseException] | Iterable[type[BaseException]]
) -> Exceptions:
    classes = (value,) if isinstance(value, type) else tuple(value)
    for cls in classes:
        if not (isinstance(cls, type) and issubclass(cls, BaseException)):
            raise ValueError(f"Retry: {name} takes exception classes, not {cls!r}.")
    return classes


# Without a policy of its own a task is not run again after an exception, for nobody said that
# this is safe; after a crash it is, or a deploy would lose jobs.
DEFAULT_RETRY = Retry(max_attempts=MAX_CRASHES, on=())
