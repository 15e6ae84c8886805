"""What is wrong with one schedule is in no other's way: it is said, and tried again."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection, connections, transaction

from django_bgtasks import Cron, Middleware, add_middleware, remove_middleware, set_schedule
from django_bgtasks.core import clock
from django_bgtasks.core.aliases import CURRENT
from django_bgtasks.core.compat import InvalidTask
from django_bgtasks.ledger.times import database_now
from django_bgtasks.models import Job, Schedule
from django_bgtasks.schedules import fire as firing
from django_bgtasks.schedules.fire import Firing
from django_bgtasks.worker.maintenance.schedules import Schedules
from tests.threads import in_threads

from .rows import DB, MINUTE, START, again, each_minute, fire, ticks, waits_for
from .tasks import keyed, knows, note

pytestmark = pytest.mark.django_db(transaction=True)


class Turned:
    """A clock of the host that a test turns."""

    def __init__(self) -> None:
        self.by = 0.0

    def __call__(self) -> float:
        return 1000.0 + self.by


@pytest.fixture
def turned(monkeypatch: pytest.MonkeyPatch) -> Turned:
    """The host's monotonic clock, which stands still."""
    turned = Turned()
    monkeypatch.setattr(clock, "monotonic", turned)
    return turned


class Refuses(Middleware):
    """A middleware that lets no job of a schedule in."""

    def on_enqueue(self, jobs: Sequence[Job]) -> None:
        raise PermissionError("not at night")


@contextmanager
def refusing() -> Iterator[None]:
    middleware = Refuses()
    add_middleware(middleware)
    try:
        yield
    finally:
        remove_middleware(middleware)


def broken(row: Schedule, **values: Any) -> Schedule:
    """The schedule with what no form and no call would have let in."""
    Schedule.objects.filter(pk=row.pk).update(**values)
    return again(row)


INVALID = InvalidTask.__name__
BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "arguments": ({"args": [1, 2, 3]}, "InvalidArguments: tests.schedules.tasks.note: too many"),
    # The backport has another name for it.
    "options": ({"options": {"priority": "high"}}, f"{INVALID}: tests.schedules.tasks.note: "),
    "queue": ({"options": {"queue_name": "gone"}}, f"{INVALID}: Queue 'gone' is not valid"),
    "retry": ({"options": {"retry": {"delays": ["x"]}}}, "TypeError: Retry: a delay"),
    "types": ({"types": "django", "task": keyed.module_path, "args": {}}, ""),
    "cron": ({"cron": "no times at all", "every": None}, "InvalidSchedule: "),
    "zone": ({"cron": "* * * * *", "every": None, "zone": "Mars/Phobos"}, "InvalidSchedule: "),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_schedule_that_cannot_be_fired_says_why_and_stays_due(
    what: str, caplog: pytest.LogCaptureFixture
) -> None:
    values, text = BROKEN[what]
    rows = [each_minute(f"schedule {number}") for number in range(3)]
    row = broken(rows[1], **values)
    assert fire() == 2
    assert [waits_for(each) for each in rows] == [1, 0, 1]
    assert again(row).error.startswith(text)
    assert again(row).error
    assert "The schedule schedule 1 has a tick without a job" in caplog.text
    broken(row, args=["x"], options={}, types="", task=note.module_path, cron="", every=60)
    assert fire(0.5) == 1
    assert (ticks(row), again(row).error) == ([0], "")


def test_what_is_wrong_is_logged_once_and_tried_less_often(
    turned: Turned, caplog: pytest.LogCaptureFixture
) -> None:
    row, one = broken(each_minute(), args=[1, 2, 3]), Firing("default", DB)
    caplog.set_level(logging.ERROR, "django_bgtasks")
    tried = []
    for _second in range(200):
        tried.append(len(caplog.records))
        one.fire_due(START)
        turned.by += 1
    assert len(caplog.records) == 1
    # Nobody looks at it for a minute, unless it is edited.
    assert one.seconds_to_next() is None
    Schedule.objects.filter(pk=row.pk).update(args=["x"], revision=9)
    assert one.fire_due(START) == 1


def test_an_edit_is_looked_at_at_once_however_long_a_schedule_rests(turned: Turned) -> None:
    broken(each_minute(args=["x"]), args=[1, 2, 3])
    one = Firing("default", DB)
    for _try in range(10):
        one.fire_due(START)
        turned.by += 70
    one.fire_due(START)
    set_schedule("a", note, Cron("* * * * *", zone="UTC"), args=["y"])
    Schedule.objects.update(next_at=START)
    assert one.fire_due(START) == 1


def test_what_a_middleware_refuses_is_tried_again() -> None:
    row = each_minute()
    with refusing():
        assert fire() == 0
    assert again(row).error == "PermissionError: not at night"
    assert fire(0.5) == 1


def test_a_full_queue_is_tried_again(settings: Any) -> None:
    row, other = each_minute(), each_minute("b", task=note.using(queue_name="emails"))
    note.enqueue()
    entry = settings.TASKS["default"]
    depths = {"OPTIONS": {"max_depth": {"default": 1}}}
    settings.TASKS = {**settings.TASKS, "default": {**entry, **depths}}
    assert fire() == 1
    assert (ticks(row), ticks(other)) == ([], [0])
    assert again(row).error.startswith("QueueFull: ")
    Job.objects.all().delete()
    assert fire(0.5) == 1


def test_an_error_does_not_quote_what_is_sensitive() -> None:
    row = broken(each_minute(task=knows, args=["open sesame"]), options={"label": "{secret.open}"})
    assert fire() == 0
    assert again(row).error
    assert "sesame" not in again(row).error
    assert "'open sesame'" not in again(row).error


@pytest.mark.parametrize("count", [1, 150])
def test_a_schedule_of_other_code_is_left_to_that(count: int) -> None:
    """However many there are: they do not fill the page of those that are due."""
    rows = [each_minute("other 0")]
    for number in range(1, count):
        row = again(rows[0])
        row.pk, row.name = clock.new_id(), f"other {number}"
        row.save(force_insert=True)
        rows.append(row)
    Schedule.objects.update(task="of.another.service", next_at=START - MINUTE)
    row = each_minute()
    one = Firing("default", DB)
    assert one.fire_due(START) == 1
    assert ticks(row) == [0]
    other = again(rows[0])
    assert (other.error, other.skipped, waits_for(other)) == ("", 0, -1)
    assert one.seconds_to_next() is not None


def test_a_schedule_of_code_that_is_gone_fires_nothing() -> None:
    rows = [each_minute(f"tests.schedules.tasks.gone:{number}") for number in range(60)]
    Schedule.objects.update(source="code", next_at=START - MINUTE)
    row = each_minute()
    assert fire() == 1
    assert ticks(row) == [0]
    assert not Job.objects.filter(schedule=rows[0].pk).exists()


def test_a_schedule_of_another_backend_is_left_to_its_workers() -> None:
    row = broken(each_minute(), backend="elsewhere")
    assert fire() == 0
    assert waits_for(row) == 0


def test_a_schedule_of_a_task_that_has_been_renamed_fires_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    row = broken(each_minute(args=["x"]), task="tests.schedules.tasks.former")
    monkeypatch.setitem(CURRENT, "tests.schedules.tasks.former", note.module_path)
    assert fire() == 1
    assert Job.objects.get(schedule=row.pk).task == note.module_path


@pytest.mark.skipif(connection.vendor == "sqlite", reason="one writer at a time")
def test_an_insert_that_hangs_holds_up_no_other_schedule() -> None:
    """Somebody has the dedup key of a job in a transaction that he does not end."""
    hangs = each_minute("hangs", task=keyed, args=["x"])
    others = [each_minute(f"other {number}") for number in range(3)]

    def fire_impatiently() -> int:
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute("SET lock_timeout = '300ms'")
            else:
                cursor.execute("SET SESSION innodb_lock_wait_timeout = 1")
        return fire()

    with transaction.atomic():
        keyed.enqueue("x")
        [count] = in_threads(fire_impatiently)
        transaction.set_rollback(True)
    assert count == 3
    assert [waits_for(row) for row in (hangs, *others)] == [0, 1, 1, 1]
    assert fire(0.5) == 1


@pytest.mark.skipif(connection.vendor == "sqlite", reason="there is no lock of a row")
def test_a_row_that_somebody_has_locked_holds_up_no_other_schedule() -> None:
    edited, other = each_minute("edited"), each_minute("other")
    with transaction.atomic():
        set_schedule("edited", note, Cron("* * * * *", zone="UTC"), args=["x"])
        assert in_threads(fire) == [1]
    assert [bool(ticks(row)) for row in (edited, other)] == [False, True]


def test_site_code_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firing, "BUILD_SECONDS", 0.2)

    class Hangs(Middleware):
        def on_enqueue(self, jobs: Sequence[Job]) -> None:
            if jobs[0].args == ["hangs"]:
                while True:
                    pass

    rows = [each_minute(text, args=[text]) for text in ("hangs", "other")]
    middleware = Hangs()
    add_middleware(middleware)
    try:
        assert fire() == 1
    finally:
        remove_middleware(middleware)
    assert [waits_for(row) for row in rows] == [0, 1]
    assert again(rows[0]).error.startswith("JobTimeout: ")


def test_a_database_that_is_away_is_not_the_fault_of_a_schedule() -> None:
    row = each_minute()

    def fails(execute: Any, sql: str, *statement: Any) -> Any:
        if "INSERT" in sql:
            raise OperationalError("server closed the connection unexpectedly")
        return execute(sql, *statement)

    with connection.execute_wrapper(fails), pytest.raises(OperationalError):
        fire()
    assert (again(row).error, waits_for(row)) == ("", 0)
    assert fire() == 1


def test_maintenance_waits_for_the_next_tick_a_second_at_most() -> None:
    task = Schedules("default", DB)
    assert task.run_once() == 1.0
    row = each_minute()
    due = database_now(DB)
    Schedule.objects.filter(pk=row.pk).update(anchor=due, next_at=due + timedelta(seconds=0.4))
    assert 0 <= task.run_once() <= 0.4
    Schedule.objects.filter(pk=row.pk).update(next_at=due - MINUTE)
    assert task.run_once() == 1.0
    assert Job.objects.filter(schedule=row.pk).count() == 1
    connections.close_all()
