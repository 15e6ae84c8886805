"""Nothing that one schedule does holds up the others for long, nor what else maintenance does."""

from __future__ import annotations

import sys
import time
from asyncio import CancelledError
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import pytest
from django.db import DataError, OperationalError, connection
from django.test.utils import CaptureQueriesContext

from django_bgtasks import Middleware, add_middleware, remove_middleware
from django_bgtasks.core import clock
from django_bgtasks.core.compat import api_signals
from django_bgtasks.models import Job, Schedule
from django_bgtasks.schedules import fire as firing
from django_bgtasks.schedules.fire import Firing
from django_bgtasks.worker.maintenance import schedules as maintenance
from django_bgtasks.worker.maintenance.process import MaintenanceTask
from django_bgtasks.worker.maintenance.schedules import Schedules
from tests.statements import statements
from tests.waiting import wait_until

from .rows import DB, MINUTE, START, again, each_minute, fire, ticks, waits_for
from .tasks import digest

pytestmark = pytest.mark.django_db(transaction=True)


class Turned:
    """A clock of the host that a test turns; who takes long turns it, too."""

    by = 0.0

    def __call__(self) -> float:
        return 1000.0 + self.by


TURNED = Turned()


@pytest.fixture
def turned(monkeypatch: pytest.MonkeyPatch) -> Turned:
    """The host's monotonic clock, which stands still."""
    TURNED.by = 0.0
    monkeypatch.setattr(clock, "monotonic", TURNED)
    return TURNED


class Slow(Middleware):
    """It takes a second for each job, and lets none of these in."""

    asked = 0

    def on_enqueue(self, jobs: Sequence[Job]) -> None:
        if jobs[0].args == ["slow"]:
            self.asked += 1
            TURNED.by += 1
            raise TimeoutError("no answer")


@pytest.fixture
def slow() -> Iterator[Slow]:
    middleware = Slow()
    add_middleware(middleware)
    yield middleware
    remove_middleware(middleware)


def thinks(tick: datetime) -> bool:
    """A predicate that takes nearly as long as it may."""
    TURNED.by += 1.5
    return True


def test_many_schedules_that_are_slow_take_no_more_than_a_turn_of_maintenance(
    turned: Turned, slow: Slow
) -> None:
    for number in range(20):
        each_minute(f"slow {number}", args=["slow"])
    other = each_minute("other")
    Schedule.objects.filter(pk=other.pk).update(next_at=START + MINUTE)
    one = Firing("default", DB)
    one.fire_due(START + 2 * MINUTE, seconds=1)
    assert slow.asked <= 2
    for _turn in range(40):
        one.fire_due(START + 2 * MINUTE, seconds=1)
    # All of these are tried again and again, and older than the other one's tick.
    assert slow.asked > 40
    assert ticks(other) == [2]


def test_a_predicate_that_is_slow_is_asked_for_the_rest_of_the_ticks_later(turned: Turned) -> None:
    row = each_minute(when=f"{__name__}.thinks", catch_up="all", overlap="allow")
    one = Firing("default", DB)
    one.fire_due(START + 9 * MINUTE, seconds=1)
    assert 1 <= len(ticks(row)) <= 3
    assert waits_for(row) == len(ticks(row))
    for _turn in range(10):
        one.fire_due(START + 9 * MINUTE, seconds=1)
    assert ticks(row) == [*range(10)]
    assert (waits_for(row), again(row).skipped) == (10, 0)


def test_one_whose_insert_ends_the_session_is_in_no_others_way() -> None:
    """As a packet that is larger than the server takes does, each time."""
    poison = each_minute("poison", args=["larger than max_allowed_packet"])
    others = [each_minute(f"other {number}") for number in range(3)]
    one = Firing("default", DB)

    def ends(execute: Any, sql: str, params: Any, *rest: Any) -> Any:
        if "INSERT" in sql and "max_allowed_packet" in str(params):
            raise OperationalError(2006, "MySQL server has gone away")
        return execute(sql, params, *rest)

    with connection.execute_wrapper(ends):
        for _turn in range(2):
            try:
                one.fire_due(START)
            except OperationalError:
                connection.close()
    assert [waits_for(row) for row in others] == [1, 1, 1]
    assert (waits_for(poison), ticks(poison)) == (0, [])
    assert fire() == 1


class Exits(Middleware):
    """It ends the process where it is asked to, as `sys.exit()` and a cancelled coroutine do."""

    def on_enqueue(self, jobs: Sequence[Job]) -> None:
        exceptions = {"exit": SystemExit, "cancel": CancelledError}
        if jobs[0].args and (kind := exceptions.get(jobs[0].args[0])):
            raise kind


def exits(tick: datetime) -> bool:
    sys.exit("no calendar")


async def is_cancelled(tick: datetime) -> bool:
    raise CancelledError


def test_what_is_no_mere_exception_is_one_schedule_s_trouble_and_not_maintenance_s() -> None:
    rows = {
        "SystemExit": each_minute("middleware", args=["exit"]),
        "CancelledError": each_minute("coroutine", args=["cancel"]),
        "when: SystemExit: no calendar": each_minute("asks", when=f"{__name__}.exits"),
        "when: CancelledError": each_minute("awaits", when=f"{__name__}.is_cancelled"),
    }
    other = each_minute("other")
    middleware = Exits()
    add_middleware(middleware)
    try:
        assert fire() == 1
    finally:
        remove_middleware(middleware)
    assert ticks(other) == [0]
    for text, row in rows.items():
        assert again(row).error.startswith(text), row.name
    assert [waits_for(row) for row in rows.values()] == [0, 0, 1, 1]


def test_a_receiver_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firing, "BUILD_SECONDS", 0.2)
    heard = []

    def hangs(**kwargs: Any) -> None:
        heard.append(kwargs)
        time.sleep(60)

    rows = [each_minute(name) for name in "ab"]
    api_signals.task_enqueued.connect(hangs)
    try:
        assert fire() == 2
    finally:
        api_signals.task_enqueued.disconnect(hangs)
    assert len(heard) == 2
    assert [ticks(row) for row in rows] == [[0], [0]]


def test_what_the_look_for_those_that_are_due_raises_is_not_hidden() -> None:
    each_minute()

    def fails(execute: Any, sql: str, *rest: Any) -> Any:
        if "SELECT" in sql and "moment" in sql:
            raise DataError("a value that cannot be read")
        return execute(sql, *rest)

    with connection.execute_wrapper(fails), pytest.raises(DataError):
        fire()


def test_those_of_other_code_are_not_asked_for_while_they_rest() -> None:
    for number in range(30):
        each_minute(f"tests.schedules.tasks.gone:{number}")
    Schedule.objects.update(source="code")
    one = Firing("default", DB)
    one.fire_due(START)
    with CaptureQueriesContext(connection) as queries:
        assert one.fire_due(START) == 0
    assert [each for each in statements(queries) if each == "select"] == ["select"]


def test_maintenance_comes_back_at_once_to_what_it_had_no_time_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(maintenance, "SECONDS", 0.0)
    for number in range(firing.PAGE + 1):
        each_minute(f"schedule {number}")
    Schedule.objects.update(next_at=datetime(2020, 1, 1, tzinfo=START.tzinfo))
    task = Schedules("default", DB)
    assert task.run_once() == 0
    assert Job.objects.exists()
    while task.run_once() == 0:
        pass
    assert Job.objects.count() == firing.PAGE + 1


def test_schedules_of_the_code_are_written_once_the_database_answers() -> None:
    """It was away when the worker started."""

    def fails(execute: Any, sql: str, *rest: Any) -> Any:
        raise OperationalError("server closed the connection unexpectedly")

    task = MaintenanceTask("fire schedules", 0.0, Schedules("default", DB).run_once)
    with connection.execute_wrapper(fails):
        task.run()
    assert not Schedule.objects.exists()
    task.due = 0.0
    task.run()
    assert Schedule.objects.filter(source="code", task=digest.module_path).exists()


@pytest.mark.skipif(connection.vendor == "sqlite", reason="has no server")
def test_it_goes_on_when_the_server_has_ended_its_session() -> None:
    """As at each restart of the database."""
    task = MaintenanceTask("fire schedules", 0.0, Schedules("default", DB).run_once)
    row = each_minute()
    task.run()
    with connection.cursor() as cursor:
        postgres = connection.vendor == "postgresql"
        cursor.execute(f"SELECT {'pg_backend_pid()' if postgres else 'CONNECTION_ID()'}")
        [session] = cursor.fetchone()
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute(f"SELECT pg_terminate_backend({session})" if postgres else f"KILL {session}")
        cursor.execute("UPDATE django_bgtasks_schedule SET next_at = CURRENT_TIMESTAMP")
    other.close()

    def is_fired() -> bool:
        task.due = 0.0
        task.run()
        return bool(ticks(row))

    wait_until(is_fired)


@pytest.mark.skipif(connection.vendor != "sqlite", reason="others lock single rows")
def test_a_writer_who_does_not_end_holds_up_the_ticks_and_loses_none() -> None:
    row = each_minute()
    other = connection.copy()
    other.set_autocommit(False)
    try:
        with other.cursor() as cursor:
            cursor.execute("UPDATE django_bgtasks_schedule SET error = 'x'")
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA busy_timeout = 50")
        assert fire() == 0
    finally:
        other.rollback()
        other.close()
    assert (waits_for(row), again(row).error) == (0, "")
    assert fire() == 1
    connection.close()
