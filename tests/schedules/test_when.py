"""`when=` is asked at each tick: code of the site, in the process of maintenance."""

from __future__ import annotations

import pytest
from django.db import connection

from django_bgtasks import Cron, InvalidSchedule, set_schedule
from django_bgtasks.models import Schedule
from django_bgtasks.schedules import when

from . import tasks
from .rows import START, again, each_minute, fire, ticks, waits_for

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _none_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(when, "_slow", {})


@pytest.mark.parametrize("predicate", [tasks.in_even_minutes, tasks.soon_in_even_minutes])
def test_a_tick_that_is_not_wanted_is_skipped(predicate: object) -> None:
    row = each_minute(when=predicate, overlap="allow")
    assert [fire(minute) for minute in range(4)] == [1, 0, 1, 0]
    assert (ticks(row), again(row).skipped, again(row).error) == ([0, 2], 2, "")


def test_each_tick_is_asked_for() -> None:
    row = each_minute(when="tests.schedules.tasks.in_even_minutes", catch_up="all")
    assert fire(5) == 3
    assert (ticks(row), again(row).skipped) == ([0, 2, 4], 3)


def test_it_gets_the_time_in_the_zone_of_the_schedule() -> None:
    # 12:00 in UTC.
    row = set_schedule(
        "a", tasks.note, Cron("0 7 * * *", zone="America/Bogota"), when=tasks.at_seven
    )
    Schedule.objects.filter(pk=row.pk).update(next_at=START)
    assert fire() == 1


def test_one_that_raises_skips_the_tick_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    rows = [each_minute("a", when=tasks.raises), each_minute("b")]
    assert fire() == 1
    row = again(rows[0])
    assert row.error == "when: LookupError: no calendar for this year"
    assert (row.skipped, waits_for(row)) == (1, 1)
    fire(1)
    assert caplog.text.count("The schedule a has a tick without a job") >= 1


def test_one_that_hangs_is_ended_and_not_asked_again_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(when, "SECONDS", 0.2)
    rows = [each_minute(name, when=tasks.hangs) for name in "ab"]
    other = each_minute("c")
    assert fire() == 1
    assert ticks(other) == [0]
    first, second = sorted(again(row).error for row in rows)
    assert first == "when: JobTimeout: tests.schedules.tasks.hangs gave no answer within 0.2 s."
    assert "took too long the last time" in second


def test_it_leaves_nothing_behind() -> None:
    rows = [each_minute("a", when=tasks.leaves_a_transaction_open), each_minute("b")]
    fire()
    assert connection.get_autocommit()
    assert [waits_for(row) for row in rows] == [1, 1]
    assert ticks(rows[1]) == [0]


@pytest.mark.parametrize("path", ["tests.schedules.tasks.no_such", "tests.schedules.rows.START"])
def test_one_that_workers_could_not_ask_is_refused(path: str) -> None:
    with pytest.raises(InvalidSchedule, match="when: "):
        each_minute(when=path)
    assert not Schedule.objects.exists()


def test_a_function_that_workers_could_not_import_is_refused() -> None:
    with pytest.raises(InvalidSchedule, match="at the top level of a module"):
        each_minute(when=lambda tick: True)


def test_one_that_is_gone_skips_the_tick_and_says_so() -> None:
    row = each_minute(when=tasks.never)
    Schedule.objects.update(when="tests.schedules.tasks.renamed")
    assert fire() == 0
    assert again(row).error.startswith("when: InvalidSchedule: when: 'tests.schedules.tasks.rena")
