"""How far a task says it is: whatever it says, something sensible is kept."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_bgtasks.core.progress import percent_of, progress_of, shown_figure


class Step(str, Enum):  # noqa: UP042 - as people write it
    LOADING = "loading"


class Unprintable:
    """Its methods raise what nobody expects."""

    def __float__(self) -> float:
        raise KeyError("no")

    def __str__(self) -> str:
        raise KeyError("no")


@pytest.mark.parametrize(
    ("done", "total", "expected"),
    [
        (3, 10, (3, 10)),
        (0.5, 1.0, (0.5, 1)),
        (Decimal("2.5"), Fraction(5), (2.5, 5)),
        ("3", "10", (3, 10)),
        (-1, 10, (0, 10)),
        (12, 10, (12, 10)),
        (2**70, 2**71, (2.0**70, 2.0**71)),
        (3, None, (3, None)),
        (0, 0, (0, 0)),
        (True, 1, (1, 1)),
    ],
)
def test_a_number_is_kept_as_it_is(done: Any, total: Any, expected: tuple[float, float]) -> None:
    step = progress_of(done, total, "")
    assert (step.done, step.total, step.odd) == (*expected, False)


ODD = [math.nan, math.inf, -math.inf, "many", None, 1j, 10**400, Decimal("sNaN"), [], Unprintable()]


@pytest.mark.parametrize("odd", ODD, ids=lambda value: type(value).__name__)
def test_what_is_no_number_is_a_progress_of_unknown_size(odd: Any) -> None:
    step = progress_of(odd, 10, "at it")
    assert (step.done, step.total, step.message, step.odd) == (0, None, "at it", True)
    if odd is not None:
        step = progress_of(3, odd, "at it")
        assert (step.done, step.total, step.message, step.odd) == (3, None, "at it", True)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (None, ""),
        (7, "7"),
        (b"\xff a", "\ufffd a"),
        (Step.LOADING, "loading"),
        ("a\0\ud800", "a\ufffd?"),
        ("x" * 300, "x" * 255),
        (Unprintable(), "<its __str__ raised KeyError>"),
    ],
)
def test_a_message_is_text_that_any_database_stores(message: Any, expected: str) -> None:
    assert progress_of(1, 2, message).message == expected


@given(st.floats(), st.floats() | st.none())
def test_whatever_is_told_can_be_stored_and_shown(done: float, total: float | None) -> None:
    step = progress_of(done, total, "")
    figures = [shown_figure(step.done), shown_figure(step.total)]
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures
    assert step.done >= 0
    if step.total:
        assert 0 <= percent_of(step.done, step.total) <= 100


@given(st.integers(0, 100))
def test_each_percent_of_a_fraction_is_that_percent(number: int) -> None:
    assert percent_of(number / 100, 1.0) == percent_of(number, 100) == number


def test_a_count_is_shown_without_decimals() -> None:
    assert (
        json.dumps([shown_figure(3.0), shown_figure(0.5), shown_figure(None)]) == "[3, 0.5, null]"
    )
