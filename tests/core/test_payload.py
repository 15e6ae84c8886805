"""What may be stored of a call and of its result."""

from __future__ import annotations

import json
from collections import deque
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_bgtasks import InvalidArguments
from django_bgtasks.core.payload import MAX_BYTES, MAX_DEPTH, MAX_TRACEBACK, clipped, json_value

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT
JSON = st.recursive(
    LEAVES.filter(lambda x: x not in (float("inf"), float("-inf"))),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5),
    max_leaves=20,
)


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@given(value=JSON)
def test_what_json_can_say_is_kept_as_it_is(value: Any) -> None:
    assert json_value(value, "args", "a.task") == value
    assert json.loads(json.dumps(value)) == value


def test_a_tuple_is_kept_as_the_list_that_will_be_read_back() -> None:
    assert json_value((1, ("a", [2])), "args", "a.task") == [1, ["a", [2]]]


def test_any_sequence_is_kept_as_a_list_as_in_django() -> None:
    assert json_value([range(2), deque([3])], "args", "a.task") == [[0, 1], [3]]
    with pytest.raises(InvalidArguments, match=r"args\[0\] is too large: it has 1000000000 items"):
        json_value([range(10**9)], "args", "a.task")


def test_the_copy_shares_nothing_with_the_value() -> None:
    value: dict[str, Any] = {"ids": [1]}
    copy = json_value(value, "args", "a.task")
    value["ids"].append(2)
    assert copy == {"ids": [1]}


def test_bytes_of_utf_8_are_kept_as_text() -> None:
    assert json_value(["ä".encode()], "args", "a.task") == ["ä"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (datetime(2026, 1, 1, tzinfo=UTC), "Unsupported type: <class 'datetime.datetime'> at args"),
        (Decimal(1), "Unsupported type"),
        (UUID(int=1), "Unsupported type"),
        ({1, 2}, "Unsupported type: <class 'set'>"),
        (object(), "Unsupported type: <class 'object'>"),
        (lambda: 1, "Unsupported type: <class 'function'>"),
        (float("nan"), "is nan, which JSON does not have"),
        (float("inf"), "is inf, which JSON does not have"),
        (float("-inf"), "is -inf, which JSON does not have"),
        ("a\0b", "contains a NUL character"),
        ("\ud800", "contains a lone surrogate"),
        (b"\xff", "bytes that are not UTF-8"),
        (b"\0", "contains a NUL character"),
        ({1: "a"}, "has the key 1: JSON keys are strings"),
        ({None: "a"}, "has the key None: JSON keys are strings"),
        ({"a\0": 1}, "a key of args"),
        ({"\udfff": 1}, "contains a lone surrogate"),
        (2**1025, "is an integer of 1026 bits"),
    ],
)
def test_what_json_or_a_database_cannot_keep_is_refused(value: Any, message: str) -> None:
    with pytest.raises(InvalidArguments, match=r"^a\.task: ") as refusal:
        json_value(value, "args", "a.task")
    assert message in str(refusal.value)


def test_the_error_says_where_in_the_value_it_is() -> None:
    with pytest.raises(InvalidArguments, match=r"kwargs\['order'\]\[1\] is nan"):
        json_value({"order": [1, float("nan")]}, "kwargs", "a.task")


def test_the_error_is_a_type_error_and_a_value_error() -> None:
    """Callers of Django's tasks expect the one or the other."""
    assert issubclass(InvalidArguments, TypeError)
    assert issubclass(InvalidArguments, ValueError)


def test_the_cap_counts_the_bytes_of_the_json() -> None:
    assert json_value("x" * (MAX_BYTES - 2), "args", "a.task")
    with pytest.raises(InvalidArguments, match=f"too large: {MAX_BYTES + 1} bytes.*pass its id"):
        json_value("x" * (MAX_BYTES - 1), "args", "a.task")
    with pytest.raises(InvalidArguments, match="too large"):
        json_value("ä" * (MAX_BYTES // 2), "args", "a.task")


def test_a_value_may_be_nested_up_to_the_cap() -> None:
    assert json_value(nested(MAX_DEPTH), "args", "a.task") == nested(MAX_DEPTH)
    with pytest.raises(InvalidArguments, match=f"nested too deep: at most {MAX_DEPTH}"):
        json_value(nested(MAX_DEPTH + 1), "args", "a.task")


def test_a_value_that_contains_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(InvalidArguments, match="nested too deep"):
        json_value(value, "args", "a.task")


def test_short_text_is_not_clipped() -> None:
    assert clipped("a traceback") == "a traceback"


def test_clipped_text_keeps_its_head_and_its_tail_and_says_what_is_gone() -> None:
    text = clipped("head" + "x" * 10**6 + "tail")
    assert len(text) <= MAX_TRACEBACK
    assert text.startswith("head")
    assert text.endswith("tail")
    assert "characters left out" in text


@given(st.text(st.characters()))
def test_clipped_text_is_what_any_database_stores(text: str) -> None:
    safe = clipped(text)
    assert "\0" not in safe
    assert safe.encode().decode() == safe
