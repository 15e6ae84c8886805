"""Schedules of the code: each worker writes what its own code declares, and fires only that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from django_bgtasks import (
    Cron,
    Every,
    InvalidArguments,
    InvalidSchedule,
    pause_schedule,
    remove_schedule,
    set_schedule,
    task,
)
from django_bgtasks.core.clock import in_utc
from django_bgtasks.jobs.task import SCHEDULED
from django_bgtasks.models import HistoryEntry, Job, Schedule
from django_bgtasks.schedules.actions import use_code
from django_bgtasks.schedules.code import declared, write_declared
from tests.threads import in_threads

from .rows import DB, START, again, fire, waits_for
from .tasks import digest, inline, note, sync

pytestmark = pytest.mark.django_db(transaction=True)
DIGEST, SYNC = digest.module_path, sync.module_path


@pytest.fixture(autouse=True)
def _only_ours() -> Iterator[None]:
    """The tasks of other tests have schedules, too."""
    before = dict(SCHEDULED)
    SCHEDULED.clear()
    SCHEDULED.update({DIGEST: digest, SYNC: sync})
    yield
    SCHEDULED.clear()
    SCHEDULED.update(before)


def declare(task: Any, **changes: Any) -> None:
    """Let the code say something else of a task."""
    SCHEDULED[task.module_path] = replace(task, **changes)


def written() -> dict[str, Schedule]:
    """The rows after the start of a worker."""
    write_declared("default", DB)
    return {row.name: row for row in Schedule.objects.all()}


def test_a_worker_writes_what_the_code_declares() -> None:
    rows = written()
    assert set(rows) == {DIGEST, SYNC, f"{SYNC}:full"}
    assert {row.source for row in rows.values()} == {"code"}
    assert (rows[DIGEST].cron, rows[DIGEST].zone) == ("0 6 * * MON-FRI", "Europe/Berlin")
    assert (rows[SYNC].every, rows[f"{SYNC}:full"].kwargs) == (600, {"full": True})
    assert write_declared("default", DB) == 0


def test_many_workers_that_start_at_once_write_it_once() -> None:
    in_threads(*[lambda: write_declared("default", DB)] * 4)
    assert Schedule.objects.count() == 3
    assert {row.revision for row in Schedule.objects.all()} == {1}


def test_a_tick_that_comes_in_a_deploy_is_not_lost() -> None:
    written()
    Schedule.objects.filter(name=DIGEST).update(next_at=START)
    assert waits_for(written()[DIGEST]) == 0
    # The new code has other arguments, and other policies.
    declare(sync, schedule=[Every(minutes=10, kwargs={"full": True}, overlap="allow")])
    Schedule.objects.filter(name=SYNC).update(next_at=START)
    row = written()[SYNC]
    assert (waits_for(row), row.kwargs, row.overlap) == (0, {"full": True}, "allow")
    assert fire() == 2


def test_an_interval_counts_from_when_it_was_first_declared() -> None:
    """However often workers start anew within it."""
    first = written()[SYNC]
    declare(sync, schedule=[Every(days=10)])
    row = written()[SYNC]
    assert row.anchor == first.anchor
    for _start in range(3):
        assert written()[SYNC].next_at == row.next_at
    assert row.next_at is not None
    assert (row.next_at - row.anchor).days == 10


def test_other_times_in_the_code_count_from_the_start_of_the_worker() -> None:
    written()
    Schedule.objects.filter(name=DIGEST).update(next_at=START)
    declare(digest, schedule=Cron("0 7 * * *", zone="Europe/Berlin"))
    row = written()[DIGEST]
    assert (row.cron, row.revision) == ("0 7 * * *", 2)
    assert in_utc(row.next_at or START) < START


def test_what_a_person_has_changed_stays_whatever_the_code_says() -> None:
    written()
    row = set_schedule(DIGEST, digest, Cron("0 9 * * *", zone="Asia/Tokyo"), by="ada")
    assert (row.source, row.overridden) == ("code", True)
    declare(digest, schedule=Cron("0 7 * * *", zone="Europe/Berlin"))
    row = written()[DIGEST]
    assert (row.cron, row.zone) == ("0 9 * * *", "Asia/Tokyo")
    row = use_code(DIGEST, by="bob")
    assert (row.cron, row.zone, row.overridden) == ("0 7 * * *", "Europe/Berlin", False)
    verbs = list(HistoryEntry.objects.order_by("pk").values_list("verb", "by"))
    assert verbs == [("schedule_set", "ada"), ("schedule_reset", "bob")]


def test_a_pause_outlives_the_start_of_a_worker() -> None:
    written()
    pause_schedule(DIGEST, by="ada")
    declare(digest, schedule=Cron("0 7 * * *", zone="Europe/Berlin"))
    assert written()[DIGEST].paused_by == "ada"


def test_code_that_is_gone_fires_nothing_and_may_be_removed() -> None:
    written()
    Schedule.objects.update(next_at=START)
    with pytest.raises(InvalidSchedule, match="is in the code"):
        remove_schedule(DIGEST)
    del SCHEDULED[DIGEST]
    declare(sync, schedule=[Every(minutes=10)])
    assert fire() == 1
    assert Job.objects.get().task == SYNC
    with pytest.raises(InvalidSchedule, match="does not declare"):
        use_code(DIGEST)
    assert remove_schedule(DIGEST)
    assert remove_schedule(f"{SYNC}:full")
    assert set(written()) == {SYNC}


def test_a_schedule_that_is_switched_off_by_a_setting_fires_nothing() -> None:
    written()
    Schedule.objects.update(next_at=START)
    for each in (digest, sync):
        declare(each, schedule=None)
    assert declared("default") == {}
    assert fire() == 0


def test_a_task_that_is_renamed_keeps_its_schedule() -> None:
    """With what a person has changed of it, its pause, and a tick that is due."""
    written()
    former = "tests.schedules.tasks.synchronize"
    Schedule.objects.filter(name=SYNC).update(name=former, task=former, next_at=START)
    Schedule.objects.filter(name=f"{SYNC}:full").update(name=f"{former}:full", task=former)
    pause_schedule(f"{former}:full", by="ada")
    rows = written()
    assert set(rows) == {DIGEST, SYNC, f"{SYNC}:full"}
    assert waits_for(rows[SYNC]) == 0
    assert rows[f"{SYNC}:full"].paused_by == "ada"
    fire()
    assert Job.objects.filter(task=SYNC).count() == 1


def test_the_name_of_a_schedule_that_a_person_has_made_stays_his(
    caplog: pytest.LogCaptureFixture,
) -> None:
    set_schedule(DIGEST, note, Every(minutes=3), args=["mine"])
    row = written()[DIGEST]
    assert (row.source, row.task, row.args) == ("made", note.module_path, ["mine"])
    assert "has the name of one that was made" in caplog.text


def test_one_that_cannot_be_written_is_in_no_other_s_way(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(inline, schedule=None)
    broken = SCHEDULED[inline.module_path]
    # As a deploy may have it whose settings have changed since.
    object.__setattr__(broken, "schedule", Every(minutes=1, args=[1, 2, 3]))
    assert set(written()) == {DIGEST, SYNC, f"{SYNC}:full"}
    assert f"The schedule {inline.module_path} of the code cannot be written" in caplog.text


def test_it_cannot_become_one_of_another_task() -> None:
    written()
    with pytest.raises(InvalidSchedule, match=r"Give the schedule of .* another name"):
        set_schedule(DIGEST, note, Every(minutes=1))
    assert again(written()[DIGEST]).task == DIGEST


REFUSED: list[tuple[type[Exception], str, Any]] = [
    (InvalidSchedule, "takes Cron", "0 6 * * *"),
    (InvalidSchedule, "takes Cron", [Every(minutes=1), "@daily"]),
    (InvalidSchedule, "two of its schedules", [Every(minutes=1), Cron("@daily")]),
    (InvalidSchedule, "two of its schedules have the name 'a'", [Every(60, name="a")] * 2),
    (InvalidSchedule, "the name of a schedule", Every(60, name="x" * 190)),
    (InvalidArguments, "too many positional arguments", Every(60, args=[1, 2])),
    (InvalidArguments, "not JSON", Every(60, args=[START])),
    (InvalidSchedule, "at the top level", Every(60, when=lambda tick: True)),
]


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_what_could_not_be_fired_is_refused_where_it_is_defined(number: int) -> None:
    kind, text, schedule = REFUSED[number]

    def function(text: str = "") -> None:
        """It stands at the top level, as far as its name says."""

    function.__qualname__ = "function"
    with pytest.raises(kind, match=text):
        task(schedule=schedule)(function)
    assert "function" not in str(list(SCHEDULED))


@pytest.mark.parametrize("schedule", [None, [], ()])
def test_no_schedule_is_none(schedule: Any) -> None:
    def function() -> None:
        """It stands at the top level, as far as its name says."""

    function.__qualname__ = "function"
    task(schedule=schedule)(function)
    assert set(declared("default")) == {DIGEST, SYNC, f"{SYNC}:full"}


def test_a_copy_of_a_task_has_the_schedule_of_its_definition() -> None:
    with pytest.raises(TypeError, match="cannot change schedule"):
        digest.using(schedule=None)
