"""Ids: UUIDv7 after RFC 9562."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st

from django_bgtasks.core import clock

MOMENTS = st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001


def test_an_id_says_that_it_is_a_uuid_version_7() -> None:
    made = clock.new_id()
    assert made.version == 7
    assert made.variant == "specified in RFC 4122"


@given(moment=MOMENTS)
def test_the_first_48_bits_are_the_milliseconds_since_1970(moment: datetime) -> None:
    with time_machine.travel(moment, tick=False):
        made = clock.new_id()
        assert made.int >> 80 == time.time_ns() // 1_000_000


@given(first=MOMENTS, second=MOMENTS)
def test_ids_sort_by_the_time_they_were_made(first: datetime, second: datetime) -> None:
    ids = []
    for moment in (first, second):
        with time_machine.travel(moment, tick=False):
            ids.append(clock.new_id())
    if abs(second - first) >= timedelta(microseconds=1):
        assert (ids[0] < ids[1]) == (first < second)


def test_ids_of_one_process_keep_the_order_in_which_they_were_made() -> None:
    """Two within a quarter of a microsecond may change places; a row takes far longer."""
    ids = []
    for _ in range(1000):
        ids.append(clock.new_id())
        start = time.time_ns()
        while time.time_ns() - start < 500:
            pass
    assert ids == sorted(ids)


def test_ids_do_not_repeat() -> None:
    assert len({clock.new_id() for _ in range(10_000)}) == 10_000


@given(moment=MOMENTS)
def test_no_id_of_a_moment_is_below_its_floor(moment: datetime) -> None:
    with time_machine.travel(moment, tick=False):
        floor, made = clock.id_floor(clock.now()), clock.new_id()
    assert floor <= made
    assert floor.version == 7


@pytest.mark.parametrize("year", [1, 1969])
def test_before_1970_the_floor_is_below_every_id(year: int) -> None:
    assert clock.id_floor(datetime(year, 6, 1, tzinfo=UTC)) < clock.new_id()


def test_now_is_aware() -> None:
    assert clock.now().utcoffset() == timedelta(0)
