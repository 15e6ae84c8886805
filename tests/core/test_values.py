"""Typed values: each arrives as it left, and nothing else can be made of what a row says."""

from __future__ import annotations

import json
import math
import sys
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import AnonymousUser
from django.utils import translation
from django.utils.functional import SimpleLazyObject
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy, ngettext_lazy, npgettext_lazy, pgettext_lazy
from hypothesis import given
from hypothesis import strategies as st

from django_bgtasks.core.errors import InvalidArguments, Unreadable
from django_bgtasks.core.payload import json_value, to_json
from django_bgtasks.core.tags import simplified
from django_bgtasks.core.values import loaded_class, typed_copy, typed_value
from tests.app.typed import (
    SEEN,
    Access,
    Bits,
    Color,
    Coordinates,
    Item,
    Level,
    Line,
    Mapped,
    Order,
    Pair,
    Special,
    Status,
)

BERLIN = ZoneInfo("Europe/Berlin")
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
CYCLE: list[Any] = []
CYCLE.append(CYCLE)


def stored(value: Any) -> Any:
    """What a row has of it, after the trip to the database and back."""
    copied = json_value(value, "args", "shop.task", copied_by=typed_copy)
    return json.loads(to_json(copied))


def travelled(value: Any) -> Any:
    return typed_value(stored(value), {})


def same(one: Any, other: Any) -> bool:
    """Equal, of the same types at every depth, and equal to the last detail."""
    if type(one) is not type(other):
        return False
    if isinstance(one, Mapping):
        rest = list(other)
        return len(one) == len(other) and all(
            any(same(key, k) and same(item, other[k]) for k in rest) for key, item in one.items()
        )
    if isinstance(one, set | frozenset):
        return len(one) == len(other) and all(any(same(a, b) for b in other) for a in one)
    if isinstance(one, list | tuple) or is_dataclass(one):
        parts = [
            [getattr(x, f.name) for f in fields(x)] if is_dataclass(x) else x for x in (one, other)
        ]
        return len(parts[0]) == len(parts[1]) and all(map(same, *parts))
    if isinstance(one, datetime | time):
        details = [(str(x.tzinfo), x.fold, x.utcoffset()) for x in (one, other)]
        return details[0] == details[1] and one.replace(tzinfo=None) == other.replace(tzinfo=None)
    return repr(one) == repr(other)


zones = st.sampled_from([
    *(None, UTC, BERLIN, ZoneInfo("UTC")),
    *(ZoneInfo("Australia/Lord_Howe"), ZoneInfo("Asia/Kathmandu")),
    *(timezone(timedelta(hours=-3, minutes=-30)), timezone(timedelta(seconds=1))),
])  # fmt: skip
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
hashable = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    texts,
    st.just("$type"),
    st.binary(max_size=8),
    st.decimals(),
    st.decimals(allow_nan=False, places=3),
    st.uuids(),
    st.dates(),
    st.times(timezones=zones),
    st.datetimes(timezones=zones, allow_imaginary=True),
    st.timedeltas(),
    st.sampled_from([*Color, *Level, *Access, *Bits, *Status, *Order.State]),
    st.sampled_from([Access.READ | Access.WRITE, Access(0), Bits(7), Bits.A | Bits.B]),
    st.sampled_from([Path("a/b"), PurePosixPath("/x"), PureWindowsPath("C:\\x")]),
)
# What is not equal to itself cannot be found again.
keys = hashable.filter(lambda key: "nan" not in repr(key).lower())
values = st.recursive(
    hashable,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(texts, inner, max_size=3),
        st.dictionaries(keys, inner, max_size=3),
        st.tuples(inner, inner),
        st.sets(keys, max_size=3),
        st.frozensets(keys, max_size=3),
        st.fixed_dictionaries({"$type": inner}, optional={"value": inner}),
        st.builds(Pair, inner, inner),
        st.builds(Coordinates, st.decimals(), st.decimals()),
        st.builds(Line, st.builds(Item, texts, st.decimals()), st.datetimes(timezones=zones)),
        st.builds(Special, texts, extra=inner),
    ),
    max_leaves=6,
)


@given(values)
def test_every_value_arrives_as_it_left(value: Any) -> None:
    assert same(travelled(value), value)


@given(values)
def test_what_has_arrived_is_stored_as_it_was(value: Any) -> None:
    assert to_json(stored(travelled(value))) == to_json(stored(value))


json_values = st.recursive(
    st.one_of(st.none(), st.integers(), texts, st.sampled_from(["model", "enum", "dict", "lazy"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from([
                *("$type", "value", "class", "name", "others", "pk", "model", "using"),
                *("zone", "call", "fold", "pure"),
            ]),
            inner,
            max_size=5,
        ),
    ),
)  # fmt: skip


@given(json_values)
def test_whatever_a_row_says_it_is_read_or_unreadable_and_never_another_error(row: Any) -> None:
    with suppress(Unreadable):
        typed_value(row, {})
    simplified(row)


@pytest.mark.parametrize("name", ["\0", "\ud800"])
def test_what_no_database_stores_is_refused_in_keys_and_in_paths_too(name: str) -> None:
    for value in (name, {name: 1}, {1: name}, {name}, Item(name), Path(name)):
        with pytest.raises(InvalidArguments, match=r"NUL|surrogate"):
            stored(value)


@pytest.mark.parametrize(
    "value",
    [
        Decimal("1.10"),
        Decimal("-0"),
        Decimal("1E+3"),
        Decimal("0E-10"),
        Decimal("sNaN12"),
        Decimal("-Infinity"),
        -0.0,
        math.inf,
        datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1),
        datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN),
        datetime(2026, 3, 29, 2, 30, tzinfo=BERLIN),
        datetime(2026, 10, 25, 2, 30, fold=1),  # noqa: DTZ001
        datetime.max,  # noqa: DTZ901
        timedelta.min,
        timedelta(microseconds=-1),
        time(2, 30, tzinfo=BERLIN),
        (),
        (1, (2,)),
        set(),
        frozenset([frozenset([1])]),
        {1: "a", "1": "b"},
        {date(2026, 1, 1): {Status.OPEN: {1, 2}}},
        {"$type": "date", "value": "2026-01-01"},
        {"$type": {"$type": "dict"}},
        bytearray(b"\xff\0"),
        [Color.RED, Color.DEEP, Level.HIGH, Status.OPEN, Order.State.NEW],
        [Access.READ | Access.WRITE, Access(0), Bits(7)],
        Pair((1,), {2}),
    ],
    ids=repr,
)
def test_details_arrive_too(value: Any) -> None:
    assert same(travelled([value])[0], value)


def test_a_subclass_of_what_json_has_arrives_as_what_it_is() -> None:
    ordered, counted = OrderedDict(a=1), defaultdict(int, a=1)
    assert [type(travelled(one)) for one in (ordered, counted)] == [dict, dict]
    assert type(travelled(mark_safe("<b>"))) is str
    assert travelled(range(3)) == travelled(deque(range(3))) == [0, 1, 2]
    assert travelled(deque([date(2026, 1, 1)])) == [date(2026, 1, 1)]
    assert travelled(SimpleLazyObject(lambda: Decimal("1.0"))) == Decimal("1.0")


def test_a_dataclass_arrives_with_all_its_fields_and_none_of_its_code_runs() -> None:
    special = Special("pen", Decimal("1.50"), {"a"}, extra=Line(Item("ink"), NOON))
    special.total = Decimal(7)
    SEEN.clear()
    arrived = travelled(special)
    assert not SEEN
    assert (arrived, type(arrived.extra), arrived.total) == (special, Line, Decimal(7))


@pytest.mark.parametrize(
    ("make", "german"),
    [
        (lambda: gettext_lazy("Jobs"), None),
        (lambda: gettext_lazy("Cancel"), "Abbrechen"),
        (lambda: pgettext_lazy("Task", "Ready"), None),
        (lambda: ngettext_lazy("%d job", "%d jobs", 3), None),
        (lambda: npgettext_lazy("x", "%d job", "%d jobs", 3), None),
    ],
)
def test_a_translation_arrives_untranslated(make: Callable[[], Any], german: str | None) -> None:
    with translation.override("de"):
        arrived = travelled([make()])[0]
        assert str(arrived) == str(make())
    with translation.override("en"):
        assert str(arrived) == str(make())
        assert type(arrived).__name__ == "__proxy__"


def test_a_plural_without_its_number_arrives_without_it() -> None:
    arrived = travelled(ngettext_lazy("%(n)d day", "%(n)d days", "n"))
    assert (arrived % {"n": 1}, arrived % {"n": 2}) == ("1 day", "2 days")


def local_class() -> Any:
    """An instance of a class that nobody else can find."""
    from dataclasses import dataclass

    @dataclass
    class Local:
        a: int = 1

    return Local()


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (object(), "Unsupported type: <class 'object'> at args is none that types='django' keeps"),
        ([1, iter([])], r"at args\[1\] is none that"),
        (AnonymousUser(), "AnonymousUser"),
        (local_class(), "defined within a function. Define it at the top level of a module"),
        (Mapped(), "is a dataclass that is a dict too"),
        (CYCLE, "nested too deep"),
        (Item, "<class 'type'> at args"),
        (2**2000, "bits"),
    ],
)
def test_what_could_not_arrive_is_refused_at_the_call(value: Any, why: str) -> None:
    with pytest.raises(InvalidArguments, match=why):
        stored(value)


@pytest.mark.parametrize(
    ("tag", "why"),
    [
        ({"$type": "enum", "class": "os:environ", "name": "PATH"}, "there is no such enum"),
        ({"$type": "enum", "class": "tests.app.typed:Item", "name": "a"}, "there is no such enum"),
        ({"$type": "dataclass", "class": "subprocess:Popen", "value": {}}, "no such dataclass"),
        ({"$type": "dataclass", "class": "tests.app.typed:Color", "value": {}}, "no such"),
        ({"$type": "dataclass", "class": "tests.app.typed:Gone", "value": {}}, "no such"),
        ({"$type": "dataclass", "class": "tests.gone:Gone", "value": {}}, "tests.gone"),
        ({"$type": "dataclass", "class": "tests.app.typed:Item", "value": {}}, "a field name"),
        ({"$type": "namedtuple", "class": "builtins:tuple", "value": []}, "no such namedtuple"),
        ({"$type": "namedtuple", "class": "tests.app.typed:Pair", "value": [1]}, "2 fields"),
        ({"$type": "enum", "class": "tests.app.typed:Color", "name": "BLUE"}, "no member BLUE"),
        ({"$type": "set", "value": [[]]}, "unhashable"),
        ({"$type": "decimal", "value": "x"}, "decimal"),
        ({"$type": "time", "value": "10:00", "zone": "../../etc/passwd"}, "TZPATH"),
        ({"$type": "call", "value": "os.system"}, "'call' is no type"),
        ({"$type": ["x"]}, "TypeError"),
    ],
    ids=str,
)
def test_a_row_names_nothing_but_values_and_what_is_not_here_is_told(tag: Any, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        typed_value([tag], {})


def test_for_what_a_person_has_typed_no_module_is_imported() -> None:
    sys.modules.pop("this", None)
    tag = {"$type": "enum", "class": "this:Color", "name": "RED"}
    with pytest.raises(Unreadable):
        typed_value(tag, {}, loaded_class)
    assert "this" not in sys.modules


def test_a_class_may_get_a_field_and_a_member_another_name_while_jobs_wait() -> None:
    line = {"$type": "dataclass", "class": "tests.app.typed:Item", "value": {"name": "a"}}
    assert typed_value(line, {}) == Item("a")
    renamed = {"$type": "enum", "class": "tests.app.typed:Status", "name": "NEW", "value": "open"}
    assert typed_value(renamed, {}) is Status.OPEN


def test_a_zone_that_is_unknown_here_leaves_the_moment() -> None:
    tag = {"$type": "datetime", "value": "2026-01-01T10:00:00+05:00", "zone": "Mars/Olympus"}
    assert typed_value(tag, {}) == datetime(2026, 1, 1, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (
            Item("pen", Decimal("1.50"), {"b", "a"}),
            {"name": "pen", "price": "1.50", "tags": ["a", "b"], "total": "0"},
        ),
        ([Status.OPEN, Color.DEEP, Bits(7)], ["open", "DEEP", 7]),
        ({1: UUID(int=1), "$type": None}, {"1": str(UUID(int=1)), "$type": None}),
        (
            (gettext_lazy("Jobs"), datetime(2026, 1, 1, tzinfo=BERLIN)),
            ["Jobs", "2026-01-01T00:00:00+01:00"],
        ),
    ],
)
def test_people_and_scripts_read_plain_json(value: Any, shown: Any) -> None:
    assert simplified(stored(value)) == shown


def test_dataclasses_in_sequences_count_each_level() -> None:
    deep: Any = 1
    for _ in range(40):
        deep = (deep,)
    with pytest.raises(InvalidArguments, match="nested too deep"):
        stored(deep)
    assert isinstance(stored((((1,),),)), Mapping)
    assert isinstance(travelled([((1,),)]), Sequence)
