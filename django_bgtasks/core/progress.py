"""How far a task says it is, made into what can be stored and shown, whatever it said."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from .payload import clipped, plain

LONGEST_MESSAGE = 255


@dataclass(frozen=True, slots=True)
class Progress:
    """What the job's row keeps: `done` is finite and not negative, and `total` is or is not known.

    odd: whether something else was said, which is worth a line in the log.
    """

    done: float
    total: float | None
    message: str
    odd: bool = False

    @property
    def is_complete(self) -> bool:
        """Whether it is the last one."""
        return self.done == self.total


def progress_of(done: Any, total: Any, message: Any) -> Progress:
    """What to keep of a task's words. It never raises.

    Where a share cannot be told, as of NaN or infinity, the progress is 0 of an unknown total: it
    shows that the job is at work, and its message.
    """
    parts, whole = _figure(done), None if total is None else _figure(total)
    odd = parts is None or (total is not None and whole is None)
    text = clipped(_text(message))[:LONGEST_MESSAGE]
    return Progress(parts or 0.0, None if odd else whole, text, odd)


def _figure(value: Any) -> float | None:
    try:
        figure = float(value)
    except Exception:
        # A number of a library of the site's may raise anything.
        return None
    return max(0.0, figure) if math.isfinite(figure) else None


def _text(message: Any) -> str:
    if message is None:
        return ""
    if isinstance(message, bytes):
        return message.decode(errors="replace")
    try:
        return str(plain(message))
    except Exception as broken:
        return f"<its __str__ raised {type(broken).__name__}>"


def shown_figure(figure: float | None) -> float | None:
    """3 and not 3.0: most tasks count something."""
    return int(figure) if figure is not None and figure.is_integer() else figure


def percent_of(done: float, total: float) -> int:
    """The whole percents that are done, from 0 to 100; static/django_bgtasks/progress.js too."""
    # 0.29 of 1.0 is a little less than 29 of 100 in floats.
    return int(max(0.0, min(100.0, 100.0 * done / total + 1e-9)))
