"""What a call was asked for, as one hash: equal for equal values, and for no others."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import OrderedDict, deque, namedtuple
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal, localcontext
from enum import Enum, Flag, IntEnum, StrEnum
from fractions import Fraction
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import Group, User
from django.http import QueryDict
from django.utils import translation
from django.utils.functional import SimpleLazyObject
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy
from hypothesis import given
from hypothesis import strategies as st

from django_bgtasks import InvalidArguments
from django_bgtasks.idempotency.fingerprint import fingerprint_of
from tests.workers import ROOT

BERLIN, TOKYO = ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Tokyo")
NAIVE = datetime(2026, 7, 1)  # noqa: DTZ001 - it is to have none
Pair = namedtuple("Pair", "a b")


class Color(str, Enum):  # noqa: UP042 - as people write it
    RED = "red"


class Fruit(StrEnum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


class Plain(Enum):
    RED = "red"
    LATE = object()


class Other(Enum):
    RED = "red"


class Right(Flag):
    READ = 1
    WRITE = 2


@dataclass
class Money:
    amount: Decimal
    currency: str = "EUR"
    note: object = field(default=None, compare=False)


@dataclass
class Points:
    amount: Decimal
    currency: str = "EUR"


class Tariff(float):
    def __repr__(self) -> str:
        return "a tariff"


def add(*args: int, a: int = 0) -> None: ...


def of(value: Any) -> str:
    return fingerprint_of(value=value)


def at(zone: Any, hour: int) -> datetime:
    return datetime(2026, 7, 1, hour, tzinfo=zone)


# In each line all are different from each other, and from all values of the other lines.
DIFFERENT: list[Any] = [
    *(None, True, False, 0, 1, -1, 1.0, 1.5, "1", "", "red", b"1", b"", b"\xff"),
    *(2**53, 2**53 + 1, float(2**53), 10**5000, 1e16, 10**16, float("inf"), float("nan")),
    *(Decimal(1), Decimal("1.1"), Decimal(-1), Decimal("NaN"), Decimal("Infinity")),
    *(Decimal("1e3"), Decimal("0.001"), Decimal(0), complex(1, 2), complex(2, 1), Fraction(1, 3)),
    *(date(2026, 7, 1), NAIVE, datetime(2026, 7, 1, tzinfo=UTC), at(BERLIN, 3)),
    *(datetime.max.replace(tzinfo=UTC), datetime.max.replace(tzinfo=BERLIN), date.max),
    *(time(1), time(1, tzinfo=UTC), time(1, tzinfo=BERLIN), timedelta(1), timedelta(0, 1)),
    *(timedelta.max, timedelta.min, UTC, timezone(timedelta(hours=1)), BERLIN, TOKYO),
    *(UUID(int=1), UUID(int=2), str(UUID(int=1)), UUID(int=1).bytes),
    *([], [1], [[1]], [1, 2], [2, 1], {}, {1: 1}, {"1": 1}, {1.5: 1}, {"a": None}, {None: "a"}),
    *({"a": 1, "b": 2}, {"a": 2, "b": 1}, {(1, 2): 3}, {1: 2, "1": 2}),
    *(set(), {1}, {"1"}, {1, 2}, {frozenset({1})}, {(1, 2)}),
    *(range(3), range(1, 3), Path("a"), Path("a/b"), "a/b"),
    *(Plain.RED, Plain.LATE, Other.RED, Right.READ, Right.READ | Right.WRITE),
    *(Money(Decimal(1)), Money(Decimal(2)), Money(Decimal(1), "USD"), Points(Decimal(1))),
    *(add, of, Money, len, "a".join, "b".join, dict.fromkeys, partial(add), partial(add, 1)),
    *(partial(add, a=1), "a".upper, User(pk=1), User(pk=2), Group(pk=1), User(pk="1")),
    *(["int", "0x1"], ["list", 1], ["dict", []], "null", "[]", "\ud800", "\0", "é", "e\u0301"),
]

# In each line all are the same.
EQUAL: list[tuple[Any, ...]] = [
    (Decimal(20), Decimal("20.00"), Decimal("2e1"), Decimal("020.0")),
    (Decimal(0), Decimal("0.00"), Decimal("-0"), Decimal("0e9")),
    (at(UTC, 10), at(BERLIN, 12), at(TOKYO, 19), at(timezone(timedelta(hours=-2)), 8)),
    (0.0, -0.0),
    (1.5, Tariff(1.5)),
    (1, Level.LOW),
    ("red", Color.RED, Fruit.RED, mark_safe("red"), SimpleLazyObject(lambda: "red")),
    ({"b": 2, "a": 1}, {"a": 1, "b": 2}, OrderedDict(b=2, a=1)),
    ({3, 1, 2}, frozenset({2, 3, 1}), {1: 0, 2: 0, 3: 0}.keys()),
    ([1, 2], (1, 2), Pair(1, 2), deque([1, 2])),
    (b"a", bytearray(b"a"), memoryview(b"a")),
    (Path("/a"), PurePosixPath("/a")),
    (Money(Decimal("1.0")), Money(Decimal(1), note=object())),
    (User(pk=7, username="a"), User(pk=7, username="b"), SimpleLazyObject(lambda: User(pk=7))),
    ([float("nan")], [float("nan")]),
]


def test_no_two_values_that_differ_count_as_the_same() -> None:
    found: dict[str, Any] = {}
    for value in DIFFERENT:
        twin = found.setdefault(of(value), value)
        assert twin is value, f"{value!r} counts as {twin!r}"


@pytest.mark.parametrize("values", EQUAL, ids=lambda values: repr(values[0]))
def test_equal_values_count_as_the_same(values: tuple[Any, ...]) -> None:
    assert len({of(value) for value in values}) == 1
    assert len({of({"deep": [(value,)]}) for value in values}) == 1


def test_a_value_deep_within_counts_by_its_value() -> None:
    def order(amount: str) -> Any:
        return [{"lines": ({"price": Money(Decimal(amount))}, {2: {Decimal(amount)}})}]

    assert of(order("20")) == of(order("20.00")) != of(order("9999"))


@given(st.decimals(allow_nan=False, allow_infinity=False), st.integers(0, 5))
def test_a_decimal_counts_by_its_amount_whatever_the_context(amount: Decimal, zeros: int) -> None:
    sign, digits, exponent = amount.as_tuple()
    longer = Decimal((sign, (*digits, *[0] * zeros), int(exponent) - zeros))
    with localcontext(prec=2):
        assert of(amount) == of(longer)
        assert of(amount) != of(Decimal((sign, (*digits, 1), int(exponent) - 1)))


@given(st.dictionaries(st.integers() | st.text() | st.booleans() | st.none(), st.integers()))
def test_the_order_of_a_dict_does_not_count_whatever_its_keys(value: dict[Any, int]) -> None:
    assert of(value) == of(dict(reversed(value.items())))


def test_a_query_dict_counts_with_all_its_values() -> None:
    assert of(QueryDict("a=1&a=2")) != of(QueryDict("a=3&a=2"))


def test_a_lazy_text_counts_the_same_in_each_language() -> None:
    with translation.override("de"):
        german = of(gettext_lazy("Yes"))
    with translation.override("fr"):
        assert of(gettext_lazy("Yes")) == german != of(gettext_lazy("No"))


PROGRAM = """
import django; django.setup()
from tests.idempotency.test_fingerprint import DIFFERENT, EQUAL, of
print(*[of(value) for value in DIFFERENT + [EQUAL]])
"""


@pytest.mark.long
def test_another_process_comes_to_the_same() -> None:
    here = [of(value) for value in [*DIFFERENT, EQUAL]]
    for seed in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": seed, "DJANGO_SETTINGS_MODULE": "tests.settings"}
        process = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env=env,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert process.stdout.split() == here, process.stderr


def itself() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (object(), r"args\[0\] is a builtins.object: a later call could not be compared"),
        (iter([1]), "is a builtins.list_iterator"),
        ({"a": [object()]}, r"args\[0\]\['a'\]\[0\] is a builtins.object"),
        ({object(): 1}, r"a key of args\[0\] is a builtins.object"),
        (lambda: 1, "<lambda>, which has no path"),
        (partial(lambda: 1), "<lambda>, which has no path"),
        (User(), "is a auth.User without a key"),
        (User.objects.all(), "QuerySet"),
        (itself(), "holds itself"),
        (Money(Decimal(1), object()), r"args\[0\].currency is a builtins.object"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_compared_is_refused_by_its_place(value: Any, why: str) -> None:
    with pytest.raises(InvalidArguments, match=why):
        fingerprint_of(args=[value], kwargs={})
