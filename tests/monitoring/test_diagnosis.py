"""What a snapshot says is wrong."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest

from django_bgtasks.core import clock, formats
from django_bgtasks.core.messages import Reason
from django_bgtasks.monitoring.diagnosis import diagnose, level_of
from django_bgtasks.monitoring.failures import FailureGroup, FailureWindow
from django_bgtasks.monitoring.health import WorkerHealth
from django_bgtasks.monitoring.histogram import BOUNDS, CLASSES, added, quantile
from django_bgtasks.monitoring.problems import Target
from django_bgtasks.monitoring.schedules import SchedulesSnapshot, ScheduleTrouble
from django_bgtasks.monitoring.snapshot import (
    HeldJobs,
    MaintenanceSnapshot,
    QueueSnapshot,
    RedisSnapshot,
    Snapshot,
    UnknownBackend,
    WorkerSnapshot,
)
from django_bgtasks.monitoring.waits import HeldSequence, WaitingLane, WaitsSnapshot


def worker(**fields: Any) -> WorkerSnapshot:
    usual: dict[str, Any] = {
        "id": "1", "hostname": "web1", "pid": 7, "processes": 2, "queues": ("emails",),
        "health": WorkerHealth.ALIVE, "seen": 1.0, "started": 60.0, "processes_lost": 0,
    }  # fmt: skip
    return WorkerSnapshot(**{**usual, **fields})


def snapshot(*queues: QueueSnapshot, **fields: Any) -> Snapshot:
    usual: dict[str, Any] = {
        "backend": "default", "at": clock.now(), "queues": queues, "workers": (worker(),),
        "running": (), "maintenance": MaintenanceSnapshot(1.0, 0, 0.0, 0),
        "redis": RedisSnapshot("r:6379"),
    }  # fmt: skip
    return Snapshot(**{**usual, **fields})


def failing(failed: int = 0, retrying: int = 0) -> FailureWindow:
    group = FailureGroup("shop.send", "OSError", 9, failed, retrying, 1.0, "1", "failed")
    return FailureWindow(groups=(group,), failed=group.failed)


def scheduled(code: str, count: int = 1, total: int = 1000, **fields: Any) -> Snapshot:
    trouble = ScheduleTrouble(code, count, str(UUID(int=7)), "digest", **fields)
    return snapshot(schedules=SchedulesSnapshot(total, 60.0, (trouble,)))


def lane(**fields: Any) -> WaitingLane:
    usual: dict[str, Any] = {
        "key": "api:a", "is_sequence": False, "allowed": 2, "changed": False, "in_use": 2,
        "waiting": 900, "is_more": False, "oldest": 86_400.0,
    }  # fmt: skip
    return WaitingLane(**{**usual, **fields})


def held(seconds: float, count: int = 1) -> WaitsSnapshot:
    first = HeldSequence("order:7", str(UUID(int=7)), "shop.apply_event", seconds)
    one = lane(key="order:7", is_sequence=True, allowed=1, in_use=1, held_by=first.job)
    return WaitsSnapshot((one,), count, first)


LOST = WorkerHealth.LOST
NO_SPACE, REFUSED = (Reason("other", {"words": words}) for words in ("no space left", "refused"))
SERVED = QueueSnapshot("letters", queued=1, oldest=60)
WRONG = [
    ("no-worker", snapshot(workers=())),
    ("no-worker", snapshot(workers=(worker(health=WorkerHealth.LOST),))),
    ("not-starting", snapshot(workers=(worker(), worker(trouble=NO_SPACE)))),
    ("late-worker", snapshot(workers=(worker(), worker(health=WorkerHealth.LATE)))),
    ("no-redis", snapshot(redis=RedisSnapshot("r:6379", problem=REFUSED))),
    ("suspended", snapshot(redis=RedisSnapshot("r:6379", suspended=True))),
    ("overdue", snapshot(maintenance=MaintenanceSnapshot(1.0, 3, 20.0, 0))),
    ("overdue", snapshot(maintenance=MaintenanceSnapshot(1.0, 3, 41.0, 0))),
    ("orphaned", snapshot(maintenance=MaintenanceSnapshot(1.0, 0, 0.0, 2))),
    ("unknown-backend", snapshot(unknown_backends=(UnknownBackend("gone", 2),))),
    ("paused", snapshot(QueueSnapshot("emails", queued=9, oldest=9e9, paused=True))),
    ("backlog", snapshot(QueueSnapshot("emails", queued=9, oldest=301))),
    ("unserved", snapshot(QueueSnapshot("letters", queued=9, oldest=31))),
    ("failing", snapshot(QueueSnapshot("emails", ended=10, failed=5))),
    ("lost-worker", snapshot(workers=(worker(), worker(hostname="web2", health=LOST)))),
    ("held", snapshot(held=(HeldJobs("shop.gone", 2, NO_SPACE),))),
    ("overrun", snapshot(overrun=1)),
    ("held-others", snapshot(held_others=7)),
    ("failed", snapshot(failures=FailureWindow(failed=10, ended=1000))),
    ("failed", snapshot(failures=FailureWindow(failed=300))),
    ("retrying", snapshot(failures=failing(retrying=500))),
    ("schedule-late", scheduled("late", span=40.0)),
    ("schedule-late", scheduled("late", 3, span=40.0)),
    ("schedule-unknown-task", scheduled("unknown-task", task="shop.gone")),
    ("schedule-refused", scheduled("refused", why="The queue emails is full.")),
    ("schedule-ended", scheduled("ended")),
    ("schedule-failing", scheduled("failing", of_code=1)),
    ("schedule-failing", scheduled("failing", 10)),
    ("sequence-held", snapshot(waits=held(301.0))),
    ("sequence-held", snapshot(waits=held(301.0, 40))),
    ("limit-closed", snapshot(waits=WaitsSnapshot((lane(allowed=0),)))),
    ("limit-closed", snapshot(waits=WaitsSnapshot((lane(allowed=0), lane(allowed=0))))),
]
NOTES = [
    ("inline", snapshot(inline=True)),
    ("inline", snapshot(inline=True, workers=())),
    ("failed", snapshot(failures=FailureWindow(failed=1))),
    ("failed", snapshot(failures=FailureWindow(failed=300, ended=100_000))),
    ("retrying", snapshot(failures=failing(retrying=2))),
    ("schedule-paused", scheduled("paused", by="root")),
    ("schedule-paused", scheduled("paused", 7)),
    ("schedule-undeclared", scheduled("undeclared", of_code=1)),
    ("schedule-failing", scheduled("failing", 9)),
    ("schedule-failing", scheduled("failing", 10, 1001)),
]


@pytest.mark.parametrize(("code", "found"), WRONG, ids=[code for code, _ in WRONG])
def test_what_is_wrong_is_named_once_with_its_cure(code: str, found: Snapshot) -> None:
    problems = [problem for problem in diagnose(found) if problem.level == "critical"]
    problems = problems or diagnose(found)
    assert [problem.code for problem in problems] == [code]
    assert problems[0].what
    assert problems[0].cure
    assert level_of(problems) == (
        "critical"
        if code in ("no-worker", "not-starting") or found.maintenance.delay > 40
        else "warning"
    )


@pytest.mark.parametrize(("code", "found"), NOTES)
def test_what_is_no_reason_for_alarm_is_told_and_wakes_nobody(code: str, found: Snapshot) -> None:
    problems = diagnose(found)
    assert [(problem.code, problem.level) for problem in problems] == [(code, "info")]
    assert level_of(problems) == "info"


def test_each_problem_is_made_of_plain_values_and_says_where_to_look() -> None:
    for code, found in [*WRONG, *NOTES]:
        for problem in diagnose(found):
            values = json.loads(json.dumps(problem.as_dict()))
            assert values["what"], code
            assert values["cure"], code
            if code not in ("no-redis", "suspended"):
                assert problem.target is not None, code


def test_failures_of_one_kind_are_one_click_from_their_list() -> None:
    [problem] = diagnose(snapshot(failures=failing(failed=12)))
    assert problem.target == Target(
        "jobs",
        {"state": "failed", "finished": "day", "task": "shop.send", "error": "OSError"},
    )


def test_a_worker_that_was_started_again_is_not_missed() -> None:
    lost = worker(health=LOST, seen=100.0)
    assert diagnose(snapshot(workers=(lost, worker(started=90.0)))) == []
    [problem] = diagnose(snapshot(workers=(lost, worker(started=900.0))))
    assert problem.code == "lost-worker"


@pytest.mark.parametrize(
    ("found", "command"),
    [
        (snapshot(QueueSnapshot("a b", queued=9, paused=True)), "python manage.py bgresume 'a b'"),
        (snapshot(QueueSnapshot("x;y", queued=9, oldest=31)), "python manage.py bgworker 'x;y'"),
        (scheduled("paused"), "python manage.py bgschedules resume digest"),
        (snapshot(waits=held(301.0)), f"python manage.py bgretry {UUID(int=7)}"),
    ],
)
def test_the_command_of_a_cure_can_be_pasted_into_a_shell(found: Snapshot, command: str) -> None:
    (problem,) = diagnose(found)
    assert problem.command == command
    assert problem.cure.endswith(f": {command}")


def test_many_problems_of_one_kind_do_not_hide_the_others_of_their_level() -> None:
    slow = [QueueSnapshot(f"q{n:02}", queued=9, oldest=400.0 + n) for n in range(40)]
    paused = QueueSnapshot("zz", queued=9, oldest=60.0, paused=True, paused_by="grace")
    everywhere = worker(serves_all=True)
    found = diagnose(snapshot(*slow, paused, workers=(everywhere,)))
    assert [problem.code for problem in found[:4]] == ["backlog"] * 3 + ["paused"]
    assert [problem.params["queue"] for problem in found[:3]] == ["q39", "q38", "q37"]
    assert len(found) == 41


@pytest.mark.parametrize(
    "found",
    [
        snapshot(),
        snapshot(QueueSnapshot("emails", queued=100_000, oldest=299)),
        snapshot(QueueSnapshot("letters", queued=1, oldest=2)),
        snapshot(QueueSnapshot("emails", ended=9, failed=9)),
        snapshot(QueueSnapshot("emails", ended=100, failed=49)),
        snapshot(redis=RedisSnapshot(used=False)),
        snapshot(waits=WaitsSnapshot((lane(), lane(key="api:b", in_use=0)))),
        snapshot(waits=held(299.0)),
        snapshot(SERVED, workers=(worker(serves_all=True),)),
        snapshot(SERVED, workers=(worker(busy_queues=("letters",)),)),
    ],
)
def test_a_busy_backend_is_not_called_ill(found: Snapshot) -> None:
    assert level_of(diagnose(found)) == "ok"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"), (0.0123, "12 ms"), (3.44, "3.4 s"), (59.99, "60.0 s"), (320, "5 min 20 s"),
        (7500, "2 h 5 min"), (86400 * 3 + 4 * 3600, "3 d 4 h"),
    ],
)  # fmt: skip
def test_a_span_is_told_in_its_largest_units(seconds: float | None, text: str) -> None:
    assert formats.duration(seconds) == text


def test_numbers_and_shares_are_short() -> None:
    assert [formats.number(value) for value in (0, 3, 2.25, 1234.5)] == ["0", "3", "2.2", "1234"]
    shares = [formats.percent(share) for share in (None, 0, 0.004, 0.25, 1)]
    assert shares == ["–", "0 %", "< 1 %", "25 %", "100 %"]


def histogram(**counts: int) -> list[int]:
    return [counts.get(f"c{place}", 0) for place in range(CLASSES)]


def test_a_quantile_lies_in_the_class_that_holds_it() -> None:
    assert quantile(histogram(), 0.5) is None
    counts = histogram(c0=50, c6=45, c9=5)
    assert quantile(counts, 0.5) == pytest.approx(BOUNDS[0])
    assert BOUNDS[5] < (quantile(counts, 0.9) or 0) <= BOUNDS[6]
    assert quantile(histogram(c15=1), 0.5) == BOUNDS[-1]


def test_histograms_add_up_class_by_class_whatever_an_older_version_kept() -> None:
    assert added([histogram(c1=2), [1, 1]])[:3] == [1, 3, 0]
    assert len(added([[1] * 30])) == CLASSES


def test_without_a_worker_no_schedule_is_called_late_besides() -> None:
    late = scheduled("late").schedules
    assert [p.code for p in diagnose(snapshot(schedules=late, workers=()))] == ["no-worker"]
    inline = diagnose(snapshot(schedules=late, workers=(), inline=True))
    assert [p.code for p in inline] == ["schedule-late", "inline"]
