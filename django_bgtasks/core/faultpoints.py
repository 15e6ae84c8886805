"""Fault points: named places at which a test may strike.

In every process but a test's they are nothing: `fault_point` gives back the very function it is
put on, so the hot path has neither a call nor a condition more. A test arms them before the
modules that have them are imported; see tests/faults/armed.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])
Strike = Callable[[str, Any], None]

_strike: Strike | None = None


def arm(strike: Strike) -> None:
    """Let `strike(point, value)` be called at each fault point of the modules imported from now on.

    point: "before NAME" or "after NAME"; value: what the function returned, None before it.
    """
    global _strike  # noqa: PLW0603 - once, before anything runs
    _strike = strike


def fault_point(name: str) -> Callable[[F], F]:
    """Make the two moments around a function's calls points at which a test may strike."""
    return lambda function: function if _strike is None else _armed(name, function, _strike)


def _armed(name: str, function: F, strike: Strike) -> F:
    @wraps(function)
    def reached(*args: Any, **kwargs: Any) -> Any:
        strike(f"before {name}", None)
        value = function(*args, **kwargs)
        strike(f"after {name}", value)
        return value

    return cast(F, reached)
