"""What contrib.huey promises beside what the site of Huey shows."""

from __future__ import annotations

import datetime as dt
import pickle
import sys
import types
from collections import namedtuple
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone
from pytest_django import Settings

import django_bgtasks.contrib.huey as djhuey
from django_bgtasks import Cron, InvalidArguments, InvalidSchedule
from django_bgtasks.contrib.huey import HUEY, TaskException, crontab, group
from django_bgtasks.contrib.huey.locks import TaskLock
from django_bgtasks.core.compat import InvalidTask
from django_bgtasks.jobs.task import SCHEDULED, find_task
from django_bgtasks.management.imports.pickles import HueyMessage
from django_bgtasks.models import Job
from django_bgtasks.testing import run_jobs, run_schedules

from ..workers import WorkerFactory
from . import huey_tasks as tasks

pytestmark = pytest.mark.django_db
PATH = "tests.moving.huey_tasks."


def take_schedules() -> dict[str, Any]:
    """Take the schedules of these tasks away, which are not for the tests of other files."""
    return {path: SCHEDULED.pop(path) for path in list(SCHEDULED) if path.startswith(PATH)}


OWN_SCHEDULES = take_schedules()


@pytest.fixture(autouse=True)
def no_calls() -> Iterator[None]:
    tasks.calls.clear()
    SCHEDULED.update(OWN_SCHEDULES)
    yield
    take_schedules()


def test_a_task_is_found_by_its_own_path_with_its_options() -> None:
    task = find_task(PATH + "water")
    assert task is tasks.water.background_task
    assert (task.priority, task.timeout, task.retry.max_attempts) == (7, 30, 3)
    assert list(task.retry.delays) == [10, 30]
    result = tasks.water(2, kind="tap")
    assert result.get() is None
    run_jobs()
    assert (result(), tasks.calls) == (2, [(2, "tap")])


def test_a_former_name_leads_to_the_task() -> None:
    assert find_task(PATH + "former") is tasks.renamed.background_task
    assert tasks.odd.name == "not-a-path of any kind"


def test_one_function_may_stand_under_two_decorators() -> None:
    results = [tasks.update_now(), tasks.update_on_commit()]
    run_jobs()
    assert [result() for result in results] == ["updated", "updated"]


def test_a_wrong_call_is_refused_where_it_is_made() -> None:
    with pytest.raises(InvalidArguments):
        tasks.water()
    assert tasks.own_id("hello").id
    with pytest.raises(InvalidArguments):
        tasks.own_id("hello", task=1)


def test_a_pipeline_is_a_chain_with_hueys_arguments() -> None:
    results = HUEY.enqueue(tasks.pair.s(3).then(tasks.add, 10).then(tasks.add.s(100)))
    run_jobs()
    assert results.get() == [(3, 4), 17, 117]
    [other, last] = HUEY.enqueue(tasks.named.s().then(tasks.water))
    run_jobs()
    assert (other.get(), last.get()) == ({"liters": 5}, 5)


def test_an_argument_of_a_later_step_that_cannot_be_stored_is_named_by_its_task() -> None:
    pipeline = tasks.add.s(1, 1).then(tasks.add, object())
    with pytest.raises(InvalidArguments, match=rf"^{PATH}add: .* at args\[0\]"):
        HUEY.enqueue(pipeline)


def test_a_pipeline_ends_where_it_fails() -> None:
    results = HUEY.enqueue(tasks.explode.s().then(tasks.add, 1).then(tasks.add, 2))
    run_jobs()
    for result in results:
        with pytest.raises(TaskException):
            result.get(blocking=True, timeout=5)


def test_a_chord_gets_the_list_of_results() -> None:
    chord = group([tasks.add.s(1, 2), tasks.pair.s(1).then(tasks.add)]).then(tasks.total)
    result = HUEY.enqueue(chord)
    run_jobs()
    assert result.get() == 6
    assert result.results.get() == [3, 3]


def test_immediate_runs_a_chord_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HUEY, "_immediate", True)
    result = HUEY.enqueue(group([tasks.add.s(1, 2), tasks.add.s(3)]).then(tasks.total))
    assert result.get() == 6


def test_immediate_passes_the_very_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HUEY, "_immediate", True)
    found: list[int] = []
    tasks.append_to(found)
    assert found == [1]


def test_a_site_looks_for_what_waits_and_revokes_it() -> None:
    tasks.water.schedule((3,), {"kind": "tap"}, delay=60)
    tasks.water.schedule((4,), delay=60)
    [first, _] = HUEY.scheduled()
    assert (first.name, first.args, first.kwargs) == ("water", (3,), {"kind": "tap"})
    HUEY.revoke(first)
    assert HUEY.is_revoked(first)
    assert [waiting.args for waiting in HUEY.scheduled()] == [(4,)]
    HUEY.flush()
    assert HUEY.scheduled_count() == 0


def test_a_job_is_rescheduled() -> None:
    first = tasks.water.schedule((3,), {"kind": "tap"}, delay=60)
    second = first.reschedule(delay=3600)
    assert first.is_revoked()
    [waiting] = HUEY.scheduled()
    assert (waiting.id, waiting.args, waiting.kwargs) == (second.id, (3,), {"kind": "tap"})
    third = second.reschedule()
    run_jobs()
    assert third() == 3


def test_who_waits_in_the_transaction_of_a_job_is_told_at_once() -> None:
    results = tasks.water.map([5, 6])
    for wait in (
        lambda: results[0],
        lambda: results.get(blocking=True, timeout=60),
        lambda: list(results.as_completed()),
    ):
        with pytest.raises(RuntimeError, match="before this transaction ends"):
            wait()
    assert results.get() == [None, None]
    # A test of the site may expect that the time is up.
    with pytest.raises(djhuey.ResultTimeout):
        next(iter(results)).get(blocking=True, timeout=60)
    run_jobs()
    assert results.get(blocking=True) == [5, 6]


@pytest.mark.parametrize("unknown", ["nope", "00000000-0000-0000-0000-000000000000"])
def test_an_id_that_nobody_knows_has_no_result_and_is_not_revoked(unknown: str) -> None:
    assert HUEY.result(unknown) is None
    HUEY.revoke_by_id(unknown)
    assert not HUEY.is_revoked(unknown)
    with pytest.raises(djhuey.ResultTimeout):
        HUEY.result(unknown, blocking=True)


def test_a_delayed_pipeline_begins_later() -> None:
    HUEY.enqueue(tasks.add.s(1, delay=60).then(tasks.add, 2))
    run_jobs()
    assert sorted(Job.objects.values_list("state", flat=True)) == ["blocked", "scheduled"]


def test_retry_task_and_cancel_execution() -> None:
    later, stopped = tasks.later(), tasks.stop()
    run_jobs()
    states = dict(Job.objects.values_list("task", "state"))
    assert states == {PATH + "later": "scheduled", PATH + "stop": "cancelled"}
    assert Job.objects.get(pk=later.id).attempt == 0
    assert stopped.is_revoked()


def test_options_of_a_call_are_those_of_its_job() -> None:
    tasks.water.schedule((1,), delay=60, priority=-5, retries=9, retry_delay=1, expires=600)
    job: Any = Job.objects.get()
    assert (job.priority, job.max_attempts, job.state) == (-5, 10, "scheduled")
    assert job.expires_at - job.enqueued_at == timedelta(seconds=600)
    with pytest.raises(ValueError, match="eta= or delay="):
        tasks.water.schedule((1,))
    with pytest.raises(InvalidArguments, match="dedup_key"):
        tasks.water(1, id="x")


def test_a_lock_of_a_task_is_a_limit() -> None:
    prune, check = tasks.prune.background_task, tasks.check.background_task
    assert (prune.limit.key, prune.limit.at_once, prune.limit.when_busy) == ("prune", 1, "wait")
    assert check.limit.when_busy == "skip"
    assert (tasks.mail.background_task.rate.count, tasks.mail.background_task.rate.per) == (10, 60)


def test_a_decorator_of_the_site_may_stand_between_a_task_and_its_lock() -> None:
    task = find_task(PATH + "nightly")
    assert (task.limit.key, task.limit.when_busy) == ("nightly", "skip")
    result = tasks.nightly()
    run_jobs()
    assert (result(), tasks.calls) == ("night", ["logged"])


def test_a_lock_within_a_task_is_held_by_one_at_a_time() -> None:
    result = tasks.locked_inside()
    run_jobs()
    assert result() == "free"
    with TaskLock("helper"):
        locked = tasks.locked_inside()
        assert djhuey.is_locked("helper")
        run_jobs()
    assert locked() == "locked"
    assert not djhuey.is_locked("helper")


def test_the_death_of_its_job_releases_a_lock() -> None:
    dead = Job.objects.get(pk=tasks.add(1).id)
    lock = TaskLock("inside")
    lock.acquire()
    lock._records[0].__class__.objects.update(job=dead.pk, attempt=1)
    assert not djhuey.is_locked("inside")
    with TaskLock("inside"):
        pass


def test_a_periodic_task_is_a_schedule_in_hueys_zone() -> None:
    timing = SCHEDULED[PATH + "prune"].schedule
    assert isinstance(timing, Cron)
    assert (timing.expression, timing.zone, timing.catch_up) == ("0 3 * * *", "UTC", "none")


def test_a_periodic_task_runs_at_its_ticks() -> None:
    start = dt.datetime(2036, 1, 2, 2, tzinfo=dt.UTC)
    only = [tasks.prune.background_task, tasks.check.background_task]
    run_schedules(start + timedelta(hours=1), start=start, only=only)
    assert sorted(tasks.calls) == [*["check"] * 4, "prune"]


def test_utc_false_is_the_zone_of_the_site(settings: Settings) -> None:
    settings.HUEY = {"utc": False}
    assert HUEY.periodic_task(crontab())(tasks.update).background_task.schedule.zone is None


@pytest.mark.parametrize(
    ("fields", "expression"),
    [
        ({"minute": "0", "hour": "3"}, "0 3 * * *"),
        ({"minute": "*/15"}, "0,15,30,45 * * * *"),
        ({"minute": 5, "day_of_week": "1-5"}, "5 * * * 1,2,3,4,5"),
        ({"minute": "0", "hour": "22-2"}, "0 0,1,2,22,23 * * *"),
        ({"minute": "0", "hour": "0", "day": "*/10"}, "0 0 1,11,21,31 * *"),
        ({"minute": "0", "day_of_week": "7"}, "0 * * * 0"),
        ({"minute": "0", "day_of_week": "5-7"}, "0 * * * 0,5,6"),
    ],
)
def test_a_crontab_is_a_cron_expression(fields: dict[str, Any], expression: str) -> None:
    assert crontab(**fields).expression == expression


def test_a_crontab_that_means_something_else_is_refused() -> None:
    with pytest.raises(InvalidSchedule, match=r"docs/moving\.md"):
        _ = crontab(minute="0", day="1", day_of_week="1").expression
    with pytest.raises(InvalidSchedule, match="crontab"):
        HUEY.periodic_task(lambda moment: True)
    with pytest.raises(ValueError, match="not a valid input"):
        crontab(hour="1/*")


@pytest.mark.parametrize("name", ["restore", "revoke_all", "flush_locks", "SIGNAL_EXPIRED"])
def test_an_import_of_what_has_no_equal_says_what_to_write(name: str) -> None:
    with pytest.raises(ImportError, match=r"docs/moving\.md"):
        getattr(djhuey, name)


def test_what_means_something_else_is_refused() -> None:
    with pytest.raises(InvalidArguments, match="as a whole"):
        tasks.water.revoke()
    with pytest.raises(InvalidArguments, match="on_failure"):
        tasks.water.s(1).error(tasks.add)
    assert HUEY.task(priority=1000)(tasks.update).background_task.priority == 100
    with pytest.raises(InvalidArguments, match="retry=False"):
        djhuey.rate_limit("x", 1, 1, retry=False)
    with pytest.raises(InvalidArguments, match="task_finished"):
        djhuey.signal("expired")
    with pytest.raises(InvalidTask):
        HUEY.task()(lambda: None)


def test_an_instance_of_its_own_makes_tasks_too() -> None:
    huey = djhuey.RedisHuey("shop", host="redis", immediate=True, utc=False)
    greet = huey.task(retries=1)(tasks.update)
    assert (huey.name, huey.immediate, HUEY.immediate) == ("shop", True, False)
    assert greet.background_task.module_path == PATH + "update"
    assert huey.periodic_task(crontab())(tasks.update).background_task.schedule.zone is None


def test_immediate_is_what_the_settings_say(settings: Settings) -> None:
    instance = types.SimpleNamespace(immediate=True, utc=True, name="x")
    found = [HUEY.immediate]
    for huey, debug in (({"immediate": True}, False), ({}, True), (instance, False), (None, True)):
        settings.HUEY, settings.DEBUG = huey, debug
        found.append(HUEY.immediate)
    assert found == [False, True, True, True, False]


def test_a_task_that_waits_for_its_retry_has_no_result_yet() -> None:
    result = tasks.retried()
    run_jobs()
    with pytest.raises(TaskException, match="boom"):
        result.get()
    assert Job.objects.get().attempt == 2


def test_bgimport_reads_what_huey_has_left(
    redis_client: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    make: Any = namedtuple
    message = make("Message", HueyMessage._fields, defaults=(None,) * 13)
    message.__module__ = "huey.registry"
    registry = types.ModuleType("huey.registry")
    vars(registry)["Message"] = message
    monkeypatch.setitem(sys.modules, "huey", types.ModuleType("huey"))
    monkeypatch.setitem(sys.modules, "huey.registry", registry)
    settings.HUEY = {"name": "my-garden"}
    eta = (timezone.now() + timedelta(hours=1)).astimezone(dt.UTC).replace(tzinfo=None)
    following = message("c", PATH + "add", args=(10,), kwargs={})
    for data in (
        message("a", PATH + "water", retries=2, args=(1,), kwargs={"kind": "tap"}),
        message("b", PATH + "pair", args=(3,), kwargs={}, on_complete=following),
        message("d", PATH + "gone", args=(), kwargs={}),
    ):
        redis_client.lpush("huey.redis.mygarden", pickle.dumps(data))
    scheduled = message("e", PATH + "water", eta=eta, args=(9,), kwargs={})
    redis_client.zadd("huey.schedule.mygarden", {pickle.dumps(scheduled): 1})
    redis_client.lpush("huey.redis.mygarden", pickle.dumps(Evil()))
    values = redis_client.connection_pool.connection_kwargs
    url = f"redis://{values['host']}:{values['port']}/{values['db']}"
    for _ in range(2):
        call_command("bgimport", "--from", "huey", "--redis-url", url, "--apply")
    text = capsys.readouterr().out
    assert "posix.system" in text
    assert "3 made" in text
    assert "0 made, 3 there before" in text
    run_jobs()
    assert tasks.calls == [(1, "tap")]
    results = Job.objects.filter(state="succeeded").values_list("result", flat=True)
    assert 17 in list(results)
    assert Job.objects.get(state="scheduled").args == [9]


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.system, ("touch /tmp/never",)


@pytest.mark.slow
def test_a_worker_runs_what_was_written_for_huey(bgworker: WorkerFactory) -> None:
    results = HUEY.enqueue(tasks.pair.s(3).then(tasks.add, 10))
    mailed, locked = tasks.mail(), tasks.locked_inside()
    worker = bgworker("--burst")
    worker.wait()
    assert results.get(blocking=True, timeout=10) == [(3, 4), 17]
    assert mailed.is_ready()
    assert locked() == "free"
