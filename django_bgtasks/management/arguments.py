"""The types of the commands' arguments. An error says the value, and what is allowed."""

from __future__ import annotations

from argparse import ArgumentTypeError
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.utils.translation import gettext as _

from ..core.payload import fault_of

# What every database keeps as an integer.
MOST = 2**31 - 1


@dataclass(frozen=True)
class Number:
    """A number from `least` to `most`, and neither NaN nor infinite. kind: int or float."""

    kind: type[int] | type[float]
    least: float
    most: float

    def __call__(self, text: Any) -> int | float:
        """The number that this text is. Raises ArgumentTypeError."""
        values = {"least": f"{self.least:g}", "most": f"{self.most:.0f}", "value": str(text)[:80]}
        try:
            number = self.kind(text)
        except (TypeError, ValueError, OverflowError):
            number = None
        # So that NaN is refused too.
        if number is not None and self.least <= number <= self.most:
            return number
        fault = _("a number from %(least)s to %(most)s is needed, not %(value)r")
        if self.kind is int:
            fault = _("a whole number from %(least)s to %(most)s is needed, not %(value)r")
        raise ArgumentTypeError(fault % values)


@dataclass(frozen=True)
class Text:
    """A text that a database keeps, of 1 to `most` characters."""

    most: int = 255

    def __call__(self, text: Any) -> str:
        """The text itself. Raises ArgumentTypeError: an empty one is a variable that is not set."""
        if fault_of(text, self.most):
            fault = _("a text of 1 to %(most)d valid characters is needed, not %(value)r")
            raise ArgumentTypeError(fault % {"most": self.most, "value": str(text)[:80]})
        return str(text)


@dataclass(frozen=True)
class JobId:
    """The id of a job."""

    def __call__(self, text: Any) -> UUID:
        """The id that this text is. Raises ArgumentTypeError."""
        try:
            return UUID(str(text))
        except ValueError:
            raise ArgumentTypeError(_("%r is no job's id") % str(text)[:80]) from None


COUNT = Number(int, 1, MOST)
QUEUE = Text(100)
