"""The context that a call carries: captured once, there in each attempt, and nowhere else."""

from __future__ import annotations

import gc
import json
import logging
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, tzinfo
from typing import Any

import pytest
from django.conf import settings as site
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone, translation
from pytest_django import Settings

from django_bgtasks import Carried, InvalidArguments, Middleware
from django_bgtasks.carry import use_user
from django_bgtasks.core import clock
from django_bgtasks.jobs import carried as machinery
from django_bgtasks.jobs.actions import retry_job
from django_bgtasks.models import Attempt, Job
from django_bgtasks.testing import run_jobs
from django_bgtasks.worker.maintenance import rescue
from tests.interfaces.rows import make_job
from tests.workers import WorkerFactory

from . import carried, tasks

Carry = Callable[..., None]
PATH = carried.PATH
TENANT = (f"{PATH}.tenant",)
OURS = ("django_bgtasks.carry.language", "django_bgtasks.carry.time_zone")
ALL = (*TENANT, f"{PATH}.region", *OURS)
NOBODY = [None, None, "en-us", "UTC"]
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("no_middleware")]


@pytest.fixture
def carry(settings: Settings) -> Iterator[Carry]:
    """`carry(*paths)`: OPTIONS["carry"] from here to the end of the test."""

    def carry_these(*paths: str) -> None:
        options = {**settings.TASKS["default"]["OPTIONS"], "carry": list(paths)}
        settings.TASKS = {"default": {**settings.TASKS["default"], "OPTIONS": options}}

    carried.CALLS.clear()
    machinery._logged.clear()
    yield carry_these
    carried.set_region(None)


def results() -> list[Any]:
    """What the jobs return that run now."""
    return [job.result for job in run_jobs()]


@pytest.mark.parametrize(
    "task",
    [carried.see, carried.asee, carried.asee_in_thread, carried.see_atomically],
    ids=lambda task: task.func.__name__,
)
def test_a_job_sees_what_its_call_saw_and_the_next_one_nothing_of_it(
    carry: Carry, task: Any
) -> None:
    carry(*ALL)
    with carried.use_tenant("a"), translation.override("de"), timezone.override("Asia/Tokyo"):
        carried.set_region("north")
        task.enqueue()
        carried.set_region(None)
    task.enqueue()
    with timezone.override(timezone.get_fixed_timezone(-90)):
        task.enqueue()
    first: list[Any] = ["a", "north", "de", "Asia/Tokyo"]
    if task is carried.asee_in_thread:
        # It is the loop's thread that has the region: what is per thread cannot follow.
        first[1] = None
    assert results() == [first, NOBODY, [*NOBODY[:3], "-0130"]]
    assert carried.seen() == NOBODY


class ZoneOfPytz(tzinfo):
    """As those of pytz: without a time it does not say how far it is ahead."""

    zone = "Asia/Tokyo"

    def utcoffset(self, moment: datetime | None, /) -> timedelta | None:
        return None if moment is None else timedelta(hours=9)

    def dst(self, moment: datetime | None, /) -> timedelta | None:
        return None if moment is None else timedelta(0)

    def tzname(self, moment: datetime | None, /) -> str:
        return "JST"


def test_a_zone_of_pytz_is_carried_by_its_name(carry: Carry) -> None:
    """As in viur-core 789 and exchangelib 824: it has no `key`."""
    carry(*OURS)
    with timezone.override(ZoneOfPytz()):
        carried.see.enqueue()
    assert results() == [[None, None, "en-us", "Asia/Tokyo"]]


def test_around_each_attempt_the_context_is_restored_once_and_put_back(carry: Carry) -> None:
    carry(*TENANT)
    with carried.use_tenant("a"):
        carried.see.enqueue()
    del carried.CALLS[:]
    carried.see.enqueue()
    assert carried.CALLS == [("capture", None)]
    run_jobs()
    around = [("restore", "a"), "task", ("put back", "a")]
    nothing = [("restore", None), "task", ("put back", None)]
    calls = [call for call in carried.CALLS if call[0] != "capture"]
    assert calls == [*around, *nothing]


def test_what_runs_the_jobs_has_its_own_context_again_after_them(carry: Carry) -> None:
    carry(*ALL)
    with carried.use_tenant("a"):
        carried.see.enqueue()
    carried.set_region("mine")
    with carried.use_tenant("mine"), translation.override("it"):
        assert results() == [["a", None, "en-us", "UTC"]]
        assert carried.seen() == ["mine", "mine", "it", "UTC"]


def test_what_a_task_sets_itself_does_not_reach_the_next_job(carry: Carry) -> None:
    carry(*ALL)
    carried.leaves_another.enqueue()
    carried.see.enqueue()
    assert results() == [None, NOBODY]


@pytest.mark.parametrize(
    ("task", "args"),
    [
        (carried.hang, ()),
        (carried.fail_with, (1,)),
        (tasks.ahang, ()),
        (tasks.raises, ("recursion",)),
    ],
    ids=["timeout", "failure", "timeout of a coroutine", "recursion"],
)
def test_an_attempt_that_fails_leaves_no_more_to_the_next_job_than_one_that_succeeds(
    carry: Carry, task: Any, args: Any
) -> None:
    carry(*ALL)
    with carried.use_tenant("a"), translation.override("de"):
        carried.set_region("north")
        task.enqueue(*args)
        carried.set_region(None)
    carried.see.using(priority=-1).enqueue()
    assert results() == [None, NOBODY]
    assert carried.seen() == NOBODY


def test_what_has_failed_is_let_go_without_the_collector(
    carry: Carry, caplog: pytest.LogCaptureFixture
) -> None:
    # What is logged stays, with its exception, until the end of the test.
    for name in ("django.tasks", "django_tasks"):
        caplog.set_level(logging.CRITICAL, name)
    carry(*ALL)
    carried.fail_with.enqueue(1)
    gc.disable()
    try:
        run_jobs()
        # Not by isinstance(): that evaluates lazy objects of other tests.
        assert not [one for one in gc.get_objects() if type(one) is carried.Large]
    finally:
        gc.enable()


def test_one_call_captures_once_however_many_jobs_it_makes(carry: Carry) -> None:
    carry(*TENANT)
    with carried.use_tenant("a"):
        del carried.CALLS[:]
        carried.see.enqueue_many([()] * 3)
        carried.see.using(dedup_key="one").enqueue_many([()])
        assert carried.CALLS == [("capture", "a")] * 2
    assert {job.carried for job in Job.objects.all()} == {'{"tenant": "a"}'}


def test_the_jobs_that_a_job_enqueues_inherit_its_context(carry: Carry) -> None:
    carry(*ALL)
    with carried.use_tenant("a"), translation.override("de"):
        carried.enqueue_another.enqueue()
    assert results()[1:] == [["a", None, "de", "UTC"]] * 2


def test_a_job_that_carries_nothing_has_an_empty_column(carry: Carry) -> None:
    carry(*TENANT)
    carried.see.enqueue()
    [job] = Job.objects.all()
    assert job.carried is None


def test_a_middleware_is_called_within_the_context_and_sees_its_values(
    carry: Carry, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    class Looking(Middleware):
        def around(self, context: Any) -> Any:
            seen.append((carried.current_tenant(), context.carried))
            return super().around(context)

    monkeypatch.setattr("django_bgtasks.jobs.middleware._of_all_backends", [Looking()])
    carry(*TENANT)
    with carried.use_tenant("a"):
        carried.see_values.enqueue()
        carried.asee.enqueue()
    carried.see_values.enqueue()
    assert results() == [{"tenant": "a"}, ["a", *NOBODY[1:]], {}]
    assert seen == [("a", {"tenant": "a"})] * 2 + [(None, {})]


def test_a_retry_by_itself_and_by_hand_sees_the_context_again(carry: Carry) -> None:
    carry(*TENANT)
    with carried.use_tenant("a"):
        carried.see_at_second.enqueue()
    assert results()[-1][0] == "a"
    [job] = Job.objects.all()
    Job.objects.update(state="failed")
    with carried.use_tenant("of who retries"):
        retry_job(job.pk)
    assert results()[-1][0] == "a"


def test_a_job_that_is_rescued_sees_its_context_in_its_next_attempt(carry: Carry) -> None:
    carry(*TENANT)
    row = {"task": f"{PATH}.see", "attempt": 1, "worker": clock.new_id()}
    make_job("running", carried='{"tenant": "a"}', **row)
    assert rescue.rescue("default") == 1
    assert results() == [["a", *NOBODY[1:]]]


def test_a_call_that_replaces_another_one_brings_its_own_context(carry: Carry) -> None:
    carry(*TENANT)
    for name in ("a", "b"):
        with carried.use_tenant(name):
            carried.see_once.enqueue()
    assert [result[0] for result in results()] == ["b"]
    with carried.use_tenant("a"):
        carried.see_once.enqueue()
    carried.see_once.enqueue()
    assert [result[0] for result in results()] == [None]


def test_what_cannot_be_captured_refuses_the_call_and_names_the_value(carry: Carry) -> None:
    carry(*TENANT, f"{PATH}.database")
    for call in (carried.see.enqueue, lambda: carried.see.enqueue_many([()])):
        with pytest.raises(InvalidArguments, match=r"'database' .* captured: LookupError: no requ"):
            call()
    assert not Job.objects.exists()


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (object(), r"Unsupported type: <class 'object'> at carried\['tenant'\] is not JSON"),
        ({"a": float("nan")}, r"carried\['tenant'\]\['a'\] is nan"),
        ("\0", r"carried\['tenant'\] contains a NUL"),
        ("x" * 4083, r"too large: 4097 bytes .* 4096 .* tenant \(4085\)"),
        ("ä" * 1000, "too large"),
        ("x" * 300_000, r"carried\['tenant'\] is too large"),
    ],
    ids=["object", "nan", "nul", "long", "letters", "huge"],
)
def test_what_cannot_be_stored_refuses_the_call_and_names_the_value(
    carry: Carry, value: Any, why: str
) -> None:
    carry(*TENANT)
    with carried.use_tenant(value), pytest.raises(InvalidArguments, match=why):
        carried.see.enqueue()
    assert not Job.objects.exists()


def test_a_value_of_4_kib_and_one_of_any_letters_arrive_as_they_left(carry: Carry) -> None:
    carry(*TENANT)
    values: list[Any] = ["x" * 4082, "Zürich 🙂 \\ \"'%s", [1, {"b": None}], 0, False, ""]
    for value in values:
        with carried.use_tenant(value):
            carried.see.enqueue()
    assert [result[0] for result in results()] == values


def test_what_restore_raises_is_the_exception_of_the_attempt_with_the_name_of_the_value(
    carry: Carry,
) -> None:
    carry(*TENANT)
    for task in (carried.see, carried.asee):
        make_job(task=task.module_path, carried='{"tenant": "gone"}', max_attempts=1)
    make_job(task=carried.see_at_second.module_path, carried='{"tenant": "closed"}')
    jobs = run_jobs()
    assert {job.state for job in jobs} == {"failed"}
    errors = sorted(job.error for job in jobs)
    assert errors == ["GiveUp: the tenant is closed", *["LookupError: there is no such tenant"] * 2]
    for attempt in Attempt.objects.all():
        assert "From the Carried 'tenant'." in attempt.traceback
    # Nothing of it is left.
    carried.see.enqueue()
    assert results() == [NOBODY]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("yields_twice", "RuntimeError: generator didn't stop"),
        ("later", "TypeError: restore() of the Carried 'later' must not be asynchronous."),
    ],
)
def test_a_restore_that_breaks_the_rules_fails_the_attempt(
    carry: Carry, name: str, why: str
) -> None:
    carry(f"{PATH}.{name}")
    carried.see.enqueue()
    [job] = run_jobs()
    assert (job.state, job.error) == ("failed", why)
    assert f"From the Carried {name.removeprefix('yields_')!r}." in Attempt.objects.get().traceback


def test_a_value_that_the_settings_do_not_have_any_more_is_ignored_and_said_once(
    carry: Carry, caplog: pytest.LogCaptureFixture
) -> None:
    carry(*TENANT)
    with carried.use_tenant("a"):
        carried.see.enqueue_many([()] * 2)
    carry()
    with caplog.at_level(logging.WARNING, "django_bgtasks"):
        assert results() == [NOBODY] * 2
    [record] = [record for record in caplog.records if "OPTIONS['carry']" in record.msg]
    assert "carries tenant" in record.getMessage()


def test_a_value_that_is_new_in_the_settings_is_restored_as_none(carry: Carry) -> None:
    carry(*OURS)
    carried.see.enqueue()
    carry(*TENANT, *OURS)
    del carried.CALLS[:]
    assert results() == [NOBODY]
    assert ("restore", None) in carried.CALLS


@pytest.mark.parametrize("text", ["[1]", "nonsense"])
def test_a_column_that_is_no_json_object_fails_the_attempt(carry: Carry, text: str) -> None:
    carry(*TENANT)
    make_job(task=carried.see.module_path, carried=text, max_attempts=1)
    [job] = run_jobs()
    assert job.state == "failed"
    assert "JSON" in job.error or "Expecting value" in job.error


@pytest.mark.parametrize(
    ("paths", "why"),
    [
        (["nowhere"], "'nowhere' cannot be imported"),
        ([f"{PATH}.nowhere"], "cannot be imported"),
        ([f"{PATH}.no_carried"], "is no django_bgtasks.Carried"),
        ([f"{PATH}.tenant", f"{PATH}.same_name"], "have the name 'tenant'"),
    ],
)
def test_what_is_no_carried_is_an_error_that_names_it(
    carry: Carry, paths: list[str], why: str
) -> None:
    carry(*paths)
    with pytest.raises(ImproperlyConfigured, match=why):
        carried.see.enqueue()


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": 1},
        {"capture": "shop.tenant"},
        {"restore": None},
        {"restore": carried.use_later},
        {"capture": carried.use_later},
    ],
    ids=["no name", "number", "path", "no restore", "coroutine restores", "coroutine captures"],
)
def test_a_carried_that_cannot_work_is_refused_where_it_is_made(wrong: dict[str, Any]) -> None:
    right: dict[str, Any] = {"name": "tenant", "capture": dict, "restore": print}
    with pytest.raises(ImproperlyConfigured, match="Carried"):
        Carried(**{**right, **wrong})


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("task", "after", "threads"),
    [
        pytest.param(carried.meet, carried.see_everything, carried.MANY, id="threads"),
        pytest.param(carried.ameet, carried.asee_everything, 1, id="coroutines"),
    ],
)
def test_of_50_that_run_at_once_each_sees_its_own_context_and_the_next_jobs_none(
    carry: Carry, bgworker: WorkerFactory, task: Any, after: Any, threads: int
) -> None:
    paths = (*TENANT, *OURS, "django_bgtasks.carry.user")
    carry(*paths)
    languages = [code for code, _name in site.LANGUAGES][: carried.MANY]
    users = [User.objects.create(username=code) for code in languages]
    expected = {}
    for code, user in zip(languages, users, strict=True):
        with carried.use_tenant(f"of {code}"), translation.override(code), use_user(user):
            expected[task.enqueue().id] = [f"of {code}", code, user.pk]
    later = [result.id for result in after.enqueue_many([()] * carried.MANY)]
    env = {"BGTASKS_TEST_OPTIONS": json.dumps({"carry": paths})}
    assert bgworker("--burst", "--processes", 1, "--threads", threads, env=env).wait() == 0
    found: dict[str, Any] = {
        str(pk): result for pk, result in Job.objects.values_list("pk", "result")
    }
    for job, own in expected.items():
        [before, at_the_end] = found[job]
        assert before == own[: len(before)]
        assert at_the_end == own
    assert [found[job] for job in later] == [[None, "en-us", None]] * carried.MANY


@pytest.mark.django_db(transaction=True)
def test_after_a_kill_the_next_attempt_sees_the_context(
    carry: Carry, bgworker: WorkerFactory
) -> None:
    carry(*TENANT)
    with carried.use_tenant("a"):
        dead = carried.dies_first.enqueue()
    env = {"BGTASKS_TEST_OPTIONS": json.dumps({"carry": TENANT})}
    assert bgworker("--burst", env=env).wait() == 0
    job = Job.objects.get(pk=dead.id)
    assert (job.attempt, job.result) == (2, ["a", *NOBODY[1:]])
