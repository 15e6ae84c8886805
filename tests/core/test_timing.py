"""The ticks of a schedule: each once, in order, whatever the clocks do."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import assume, given
from hypothesis import strategies as st

from django_bgtasks.core.cron import NAMES, TimesOfDay, times_of
from django_bgtasks.core.errors import InvalidSchedule
from django_bgtasks.core.timing import BATCH, ON_TIME, Cron, Every, Rule, jitter_of, plan

ANCHOR = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)

# The day of each change: an hour, at midnight, half an hour, two hours, and one without any.
CHANGES = (
    ("Europe/Berlin", datetime(2026, 3, 29, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 10, 25, tzinfo=UTC)),
    ("America/Santiago", datetime(2026, 9, 6, tzinfo=UTC)),
    ("America/Santiago", datetime(2026, 4, 5, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 10, 3, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 4, 4, tzinfo=UTC)),
    ("Antarctica/Troll", datetime(2026, 3, 29, tzinfo=UTC)),
    ("Antarctica/Troll", datetime(2026, 10, 25, tzinfo=UTC)),
    ("Pacific/Apia", datetime(2011, 12, 30, tzinfo=UTC)),
    ("America/Havana", datetime(2026, 11, 1, tzinfo=UTC)),
    ("Asia/Kathmandu", datetime(2026, 5, 5, tzinfo=UTC)),
    ("UTC", datetime(2026, 5, 5, tzinfo=UTC)),
)


def shown(cron: str, zone: str, after: str, count: int, fold: int = 0) -> list[str]:
    """What the clock of the zone shows at the next ticks."""
    tzinfo = ZoneInfo(zone)
    moment = datetime.fromisoformat(after).replace(tzinfo=tzinfo, fold=fold)
    rule, texts = Cron(cron, zone=zone).rule(ANCHOR), []
    for _ in range(count):
        tick = rule.next_after(moment)
        assert tick is not None
        assert tick.tzinfo is UTC
        assert tick > moment.astimezone(UTC)
        moment = tick
        texts.append(f"{tick.astimezone(tzinfo):%m-%d %H:%M%z}")
    return texts


def test_a_time_that_the_clocks_jump_over_comes_when_they_have_jumped() -> None:
    assert shown("30 2 * * *", "Europe/Berlin", "2026-03-28 03:00", 2) == [
        "03-29 03:00+0200",
        "03-30 02:30+0200",
    ]


def test_a_time_that_comes_twice_has_one_tick_at_its_first() -> None:
    assert shown("30 2 * * *", "Europe/Berlin", "2026-10-25 01:00", 2) == [
        "10-25 02:30+0200",
        "10-26 02:30+0100",
    ]


def test_in_the_repeated_hour_the_next_tick_is_never_in_the_past() -> None:
    """cronsim alone says 02:30 of the first hour here, 40 minutes ago."""
    assert shown("30 2 * * *", "Europe/Berlin", "2026-10-25 02:10", 1, fold=1) == [
        "10-26 02:30+0100"
    ]


def test_every_minute_goes_on_through_the_repeated_hour() -> None:
    ticks = shown("* * * * *", "Europe/Berlin", "2026-10-25 01:59", 121)
    assert ticks[0] == "10-25 02:00+0200"
    assert ticks[60] == "10-25 02:00+0100"
    assert ticks[120] == "10-25 03:00+0100"
    assert len(set(ticks)) == 121


def test_a_day_without_midnight_has_its_daily_tick() -> None:
    assert shown("0 0 * * *", "America/Santiago", "2026-09-05 12:00", 2) == [
        "09-06 01:00-0300",
        "09-07 00:00-0300",
    ]
    assert shown("*/30 0 * * *", "America/Santiago", "2026-09-05 12:00", 1) == ["09-07 00:00-0300"]


def test_a_change_of_half_an_hour_hides_no_tick() -> None:
    """cronsim alone goes on from the full hour before the change, and skips what follows it."""
    assert shown("*/10 2 * * *", "Australia/Lord_Howe", "2026-10-04 00:00", 4) == [
        "10-04 02:30+1100",
        "10-04 02:40+1100",
        "10-04 02:50+1100",
        "10-05 02:00+1100",
    ]
    assert shown("*/15 * * * *", "Australia/Lord_Howe", "2026-04-05 01:15", 5) == [
        "04-05 01:30+1100",
        "04-05 01:45+1100",
        "04-05 01:30+1030",
        "04-05 01:45+1030",
        "04-05 02:00+1030",
    ]
    assert shown("45 1 * * *", "Australia/Lord_Howe", "2026-04-05 01:30", 2) == [
        "04-05 01:45+1100",
        "04-06 01:45+1030",
    ]


def test_a_change_of_two_hours() -> None:
    assert shown("15,45 2 * * *", "Antarctica/Troll", "2026-03-29 00:00", 2) == [
        "03-29 03:00+0200",
        "03-30 02:15+0200",
    ]
    assert shown("0 */1 * * *", "Antarctica/Troll", "2026-10-25 00:30", 4) == [
        "10-25 01:00+0200",
        "10-25 02:00+0200",
        "10-25 01:00+0000",
        "10-25 02:00+0000",
    ]


@pytest.mark.parametrize(
    ("cron", "zone", "after", "expected"),
    [
        ("0 */2 * * *", "Europe/London", "2024-10-27 00:00",
         ["10-27 02:00+0000", "10-27 04:00+0000"]),
        ("30 * * * *", "Europe/Helsinki", "2017-10-29 02:45",
         ["10-29 03:30+0300", "10-29 03:30+0200"]),
        ("0 0 * * 0-4", "US/Central", "2021-03-12 00:00",
         ["03-14 00:00-0600", "03-15 00:00-0500"]),
        ("0 2 * * *", "US/Eastern", "2013-03-10 01:00",
         ["03-10 03:00-0400", "03-11 02:00-0400"]),
        ("0 8 * * *", "Europe/Berlin", "2016-03-26 21:00",
         ["03-27 08:00+0200", "03-28 08:00+0200"]),
    ],
)  # fmt: skip
def test_changes_of_clocks_that_other_schedulers_fail_at(
    cron: str, zone: str, after: str, expected: list[str]
) -> None:
    """Of APScheduler, issues 980, 1021, 529, 1059 and 115: loops, skipped days, another hour."""
    assert shown(cron, zone, after, 2) == expected


def test_seconds_change_nothing_of_what_a_change_of_clocks_does() -> None:
    assert shown("0 30 2 * * *", "Europe/Berlin", "2026-10-25 01:00", 2) == [
        "10-25 02:30+0200",
        "10-26 02:30+0100",
    ]
    assert shown("0 30 2 * * *", "Europe/Berlin", "2026-03-29 01:00", 1) == ["03-29 03:00+0200"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_its_expression(name: str) -> None:
    times = [Cron(cron, zone="UTC").rule(ANCHOR) for cron in (name, name.upper(), NAMES[name])]
    assert len({rule.next_after(ANCHOR) for rule in times}) == 1


# Against a search minute by minute.

numbers = {"minute": (0, 59), "hour": (0, 23), "day": (1, 31), "month": (1, 12), "weekday": (0, 7)}


def fields(name: str) -> st.SearchStrategy[str]:
    low, high = numbers[name]
    one = st.integers(low, high).map(str)
    pair = st.tuples(st.integers(low, high), st.integers(low, high)).map(sorted)
    return st.one_of(
        st.just("*"),
        one,
        pair.map(lambda ends: f"{ends[0]}-{ends[1]}"),
        st.sampled_from((2, 3, 5, 7, 10, 15, 30)).map(lambda step: f"*/{step}"),
        st.lists(one, min_size=2, max_size=4).map(",".join),
    )


times = st.tuples(fields("minute"), fields("hour"))
dates = st.one_of(
    st.just("* * *"), st.tuples(fields("day"), fields("month"), fields("weekday")).map(" ".join)
)
expressions = st.builds(lambda time, date: f"{time[0]} {time[1]} {date}", times, dates)


@lru_cache
def read(expression: str) -> CronSim:
    return CronSim(expression, ANCHOR)


def fits(expression: str, wall: datetime) -> bool:
    """Whether the minute fits, field by field."""
    cron = read(expression)
    is_time = wall.minute in cron.minutes and wall.hour in cron.hours
    return is_time and wall.month in cron.months and cron.match_day(wall.date())


def minutes(start: datetime, end: datetime) -> Iterator[datetime]:
    while start <= end:
        yield start
        start += MINUTE


def searched(expression: str, zone: str, start: datetime, end: datetime) -> list[datetime]:
    """The ticks from start to end, by a look at each minute."""
    tzinfo, found = ZoneInfo(zone), []
    if not isinstance(times_of(expression, zone), TimesOfDay):
        return [
            moment
            for moment in minutes(start, end)
            if fits(expression, moment.astimezone(tzinfo).replace(tzinfo=None))
        ]
    # A clock that never goes back: each time that it passes is a tick at that moment.
    passed = (start - 4 * HOUR).astimezone(tzinfo).replace(tzinfo=None)
    for moment in minutes(start - 4 * HOUR + MINUTE, end):
        now = moment.astimezone(tzinfo).replace(tzinfo=None)
        if now > passed:
            if moment >= start and any(
                fits(expression, wall) for wall in minutes(passed + MINUTE, now)
            ):
                found.append(moment)
            passed = now
    return found


@given(
    expression=expressions,
    change=st.sampled_from(CHANGES),
    begin=st.integers(-12 * 60, 36 * 60),
    length=st.integers(0, 18 * 60),
)
def test_ticks_are_those_of_a_search_minute_by_minute(
    expression: str, change: tuple[str, datetime], begin: int, length: int
) -> None:
    zone, day = change
    start = day + begin * MINUTE
    end = start + length * MINUTE
    try:
        rule = Cron(expression, zone=zone).rule(ANCHOR)
    except InvalidSchedule:
        assume(False)
    expected = searched(expression, zone, start, end)
    ticks = rule.between(start, end, 10_000)
    assert ticks == expected
    assert all(earlier < later for earlier, later in pairwise(ticks))
    assert rule.count(start - MINUTE, end) == len(expected)
    assert rule.last_until(end, start) == (expected[-1] if expected else None)


@given(
    expression=expressions,
    zone=st.sampled_from([zone for zone, _ in CHANGES]),
    days=st.integers(0, 2000),
    second=st.integers(0, 86_399),
    micro=st.sampled_from((0, 1, 999_999)),
)
def test_from_any_moment_the_next_and_the_last_tick_are_neighbours(
    expression: str, zone: str, days: int, second: int, micro: int
) -> None:
    moment = ANCHOR + timedelta(days=days, seconds=second, microseconds=micro)
    try:
        rule = Cron(expression, zone=zone).rule(ANCHOR)
    except InvalidSchedule:
        assume(False)
    last = rule.last_until(moment, datetime(1990, 1, 1, tzinfo=UTC))
    following = rule.next_after(moment)
    if following is None or last is None:
        return
    assert last <= moment < following
    assert rule.next_after(last) == following
    assert rule.last_until(following - timedelta(microseconds=1), last) == last
    assert rule.count(last, following) == 1
    assert rule.next_after(last - timedelta(microseconds=1)) == last


@given(
    seconds=st.one_of(st.integers(1, 10**7), st.floats(1, 10**7)),
    anchor=st.datetimes(datetime(2020, 1, 1), datetime(2026, 1, 1)),  # noqa: DTZ001
    ahead=st.floats(0, 10**8),
)
def test_an_interval_counts_from_its_anchor(seconds: float, anchor: datetime, ahead: float) -> None:
    rule = Every(seconds=seconds).rule(anchor.replace(tzinfo=UTC))
    step, start = timedelta(seconds=seconds), rule.anchor
    moment = start + timedelta(seconds=ahead)
    tick = rule.next_after(moment)
    assert tick is not None
    assert moment < tick <= moment + step
    assert (tick - start) % step == timedelta()
    assert rule.last_until(moment, start) == tick - step
    assert rule.count(moment, moment + 5 * step) == 5
    assert rule.next_after(start - DAY) == start


@pytest.mark.parametrize("start", ["2026-03-28 00:00", "2026-10-24 00:00"])
def test_an_interval_does_not_know_of_changes_of_clocks(start: str) -> None:
    moment = datetime.fromisoformat(start).replace(tzinfo=UTC)
    ticks = Every(hours=1).rule(ANCHOR).between(moment, moment + 2 * DAY, 100)
    assert [later - earlier for earlier, later in pairwise(ticks)] == [HOUR] * 48


def test_the_ends_of_the_calendar_have_no_next_tick() -> None:
    last = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    for timing in (
        Cron("0 0 1 1 *", zone="UTC"),
        Cron("* * * * *", zone="Asia/Tokyo"),
        Every(days=1),
    ):
        assert timing.rule(ANCHOR).next_after(last) is None


# What is done now.

rules = st.one_of(
    st.builds(
        lambda cron, zone: Rule(cron, None, zone, ANCHOR),
        st.sampled_from(("* * * * *", "*/5 * * * *", "0 3 * * *", "30 2 * * *", "0 0 1 * *")),
        st.sampled_from(("UTC", "Europe/Berlin", "Australia/Lord_Howe")),
    ),
    st.integers(30, 90_000).map(lambda seconds: Every(seconds=seconds).rule(ANCHOR)),
)
moments = st.integers(0, 365 * 24 * 60).map(lambda minutes: ANCHOR + minutes * MINUTE)
graces = st.one_of(st.none(), st.integers(0, 100_000).map(lambda s: timedelta(seconds=s)))


@given(
    rule=rules,
    start=moments,
    late=st.integers(0, 200_000),
    catch_up=st.sampled_from(("latest", "all", "none")),
    grace=graces,
)
def test_each_tick_gets_a_job_or_is_counted_as_skipped(
    rule: Rule, start: datetime, late: int, catch_up: str, grace: timedelta | None
) -> None:
    next_at = rule.next_after(start)
    assert next_at is not None
    now = next_at + timedelta(seconds=late)
    due = rule.between(next_at, now, 10_000)
    made = plan(rule, next_at, now, catch_up=catch_up, grace=grace)
    limit = ON_TIME if catch_up == "none" and grace is None else grace
    wanted = [tick for tick in due if limit is None or now - tick <= limit]
    if catch_up == "all":
        assert made.ticks == wanted[:BATCH]
    else:
        assert made.ticks == wanted[-1:]
    assert made.next_at is not None
    if catch_up == "all" and len(wanted) > BATCH:
        # The rest is due still, and comes in the next transaction.
        assert made.next_at == wanted[BATCH]
        assert made.skipped == len(due) - len(wanted)
    else:
        assert made.next_at == rule.next_after(now)
        assert made.skipped == len(due) - len(made.ticks)


@given(rule=rules, start=moments, late=st.integers(0, 200_000))
def test_all_ticks_of_an_outage_come_once_however_many_turns_it_takes(
    rule: Rule, start: datetime, late: int
) -> None:
    next_at = rule.next_after(start)
    assert next_at is not None
    now, ticks = next_at + timedelta(seconds=late), list[datetime]()
    due = rule.between(next_at, now, 10_000)
    while next_at is not None and next_at <= now:
        made = plan(rule, next_at, now, catch_up="all")
        assert 0 < len(made.ticks) <= BATCH
        ticks += made.ticks
        next_at = made.next_at
    assert ticks == due


def test_what_is_not_due_yet_is_left_alone() -> None:
    rule = Cron("@daily", zone="UTC").rule(ANCHOR)
    made = plan(rule, ANCHOR + DAY, ANCHOR)
    assert (made.ticks, made.next_at, made.skipped) == ([], ANCHOR + DAY, 0)
    assert plan(rule, None, ANCHOR).next_at is None


def test_a_clock_that_is_slow_moves_nothing_back() -> None:
    rule = Every(minutes=1).rule(ANCHOR)
    assert plan(rule, ANCHOR + HOUR, ANCHOR + HOUR - MINUTE).next_at == ANCHOR + HOUR


@pytest.mark.parametrize("timing", [Every(seconds=5), Cron("*/5 * * * * *", zone="Europe/Berlin")])
@pytest.mark.parametrize("catch_up", ["latest", "none", "all"])
def test_two_weeks_of_every_five_seconds_are_one_job_and_cheap(
    timing: Cron | Every, catch_up: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cheap: the ticks are counted, none of them is looked at."""
    start = datetime(2026, 10, 20, tzinfo=UTC)
    asked = 0
    forward = CronSim.__next__

    def counted(times: CronSim) -> datetime:
        nonlocal asked
        asked += 1
        return forward(times)

    monkeypatch.setattr(CronSim, "__next__", counted)
    made = plan(timing.rule(start), start, start + 14 * DAY, catch_up=catch_up, grace=MINUTE)
    assert len(made.ticks) == (13 if catch_up == "all" else 1)
    assert len(made.ticks) + made.skipped == 14 * 17_280 + 1
    assert asked < 50


@given(schedule=st.uuids(), tick=moments, jitter=st.floats(0.001, 100_000))
def test_jitter_is_the_same_on_each_host_and_less_than_its_limit(
    schedule: object, tick: datetime, jitter: float
) -> None:
    seconds = jitter_of(schedule, tick, jitter)
    assert 0 <= seconds < jitter
    assert seconds == jitter_of(str(schedule), tick.astimezone(ZoneInfo("Asia/Tokyo")), jitter)


def test_without_jitter_a_job_is_due_at_its_tick() -> None:
    assert jitter_of(1, ANCHOR, 0) == 0


def test_jitter_spreads_schedules_and_ticks() -> None:
    ticks = Every(minutes=1).rule(ANCHOR).between(ANCHOR, ANCHOR + HOUR, 50)
    assert len({jitter_of(n, tick, 60) for n in range(20) for tick in ticks}) == 1000


# What is refused.


@pytest.mark.parametrize(
    ("expression", "field", "allowed"),
    [
        ("60 * * * *", "minute '60'", "0 to 59"),
        ("* 24 * * *", "hour '24'", "0 to 23"),
        ("* * 0 * *", "day of month '0'", "1 to 31"),
        ("* * * 13 *", "month '13'", "1 to 12"),
        ("* * * * 8", "day of week '8'", "0 to 7"),
        ("60 * * * * *", "second '60'", "0 to 59"),
        ("* * * * FRI-MON", "day of week 'FRI-MON'", "5-7"),
        ("*/0 * * * *", "minute '*/0'", "*/10"),
        ("1, * * * *", "minute '1,'", "0 to 59"),
        ("* ? * * *", "hour '?'", "0 to 23"),
        ("5-1 * * * *", "minute '5-1'", "0 to 59"),
    ],
)
def test_a_bad_field_says_which_and_what_is_allowed(
    expression: str, field: str, allowed: str
) -> None:
    with pytest.raises(InvalidSchedule) as caught:
        Cron(expression)
    assert field in str(caught.value)
    assert allowed in str(caught.value)
    assert caught.value.reason is not None


@pytest.mark.parametrize("expression", ["", "@reboot", "* * * *", "* * * * * * *", None, 5])
def test_what_is_no_expression_says_what_one_is(expression: object) -> None:
    with pytest.raises(InvalidSchedule, match=r"five fields.*@daily"):
        Cron(expression)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "expression", ["0 0 30 2 *", "0 0 31 2,4,6,9,11 *", "0 0 30-31 2 *", "0 0 31 4 */1"]
)
def test_a_schedule_that_never_comes_is_refused(expression: str) -> None:
    with pytest.raises(InvalidSchedule, match="never comes"):
        Cron(expression)


def test_a_leap_day_comes() -> None:
    rule = Cron("0 0 29 2 *", zone="UTC").rule(ANCHOR)
    assert rule.next_after(ANCHOR) == datetime(2028, 2, 29, tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "near"),
    [
        ("Europe/Berln", "Europe/Berlin"),
        ("Berlin", "Europe/Berlin"),
        ("america/new york", "America/New_York"),
        ("Tokio", "Asia/Tokyo"),
    ],
)
def test_an_unknown_zone_says_the_nearest_names(zone: str, near: str) -> None:
    with pytest.raises(InvalidSchedule, match=f"no time zone.*{near}"):
        Cron("@daily", zone=zone)


@pytest.mark.parametrize(
    "zone", ["", "../etc/passwd", "/etc/localtime", "no such", "Europe", "a\0b"]
)
def test_what_is_no_zone_at_all_is_refused_the_same_way(zone: str) -> None:
    with pytest.raises(InvalidSchedule):
        Cron("@daily", zone=zone)


@pytest.mark.parametrize(
    "options",
    [
        {"catch_up": "some"},
        {"overlap": None},
        {"grace": -1},
        {"grace": 0},
        {"grace": timedelta(milliseconds=999)},
        {"grace": "1h"},
        {"jitter": float("nan")},
        {"jitter": -1},
        {"when": "is_workday"},
        {"when": 5},
        {"args": "abc"},
        {"kwargs": [1]},
        {"name": "x" * 201},
        {"name": None},
    ],
    ids=str,
)
def test_a_wrong_policy_is_refused_where_it_is_written(options: dict[str, object]) -> None:
    for make in (lambda: Cron("@daily", **options), lambda: Every(minutes=1, **options)):  # type: ignore[arg-type]
        with pytest.raises(InvalidSchedule):
            make()


@pytest.mark.parametrize(
    "options",
    [{}, {"seconds": 0.5}, {"minutes": -1}, {"hours": "1"}, {"interval": "1h"}, {"days": 40_000}],
    ids=str,
)
def test_an_interval_is_at_least_a_second(options: dict[str, object]) -> None:
    with pytest.raises(InvalidSchedule, match="1 second to 100 years"):
        Every(**options)  # type: ignore[arg-type]


def test_an_interval_can_be_written_in_several_ways() -> None:
    assert Every(minutes=90) == Every(hours=1.5) == Every(timedelta(minutes=90)) == Every(5400)
    assert Every(minutes=1, seconds=30).seconds == 90


def test_an_expression_keeps_single_spaces() -> None:
    assert Cron("  0  6 * *\tMON ").expression == "0 6 * * MON"
