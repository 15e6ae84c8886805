"""The decorator and the options of a task."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from enum import Enum
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from django_bgtasks import BackgroundTask, task
from django_bgtasks.core.compat import InvalidTask
from django_bgtasks.core.compat import api as tasks_api


class Word(str, Enum):  # noqa: UP042 - as people write it
    EMAILS, FAIL, QUEUED = "emails", "fail", "queued"


def greet(name: str, times: int = 1) -> str:
    """A function at a module's top level."""
    return f"hello {name} " * times


async def agreet(name: str) -> str:
    """One that is a coroutine."""
    return f"hello {name}"


def with_context(context: Any) -> None:
    """One that takes the context."""


@pytest.mark.parametrize("made", [task(greet), task()(greet), task(priority=1)(greet)])
def test_the_decorator_makes_a_task_with_and_without_arguments(made: Any) -> None:
    assert isinstance(made, BackgroundTask)
    assert made.name == "greet"
    assert made.module_path == "tests.core.test_task.greet"


def test_a_task_is_still_a_function_to_call() -> None:
    assert task(greet).call("ada") == "hello ada "
    assert task(greet).func("ada", times=2) == "hello ada hello ada "


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"retry": 3}, "retry takes a Retry, such as Retry(max_attempts=5)"),
        ({"timeout": 0}, "timeout is in seconds and above 0, not 0"),
        ({"timeout": -1}, "timeout is in seconds and above 0, not -1"),
        ({"timeout": "30"}, "timeout is in seconds and above 0, not '30'"),
        ({"timeout": float("nan")}, "timeout is in seconds and above 0, not nan"),
        ({"timeout": float("inf")}, "timeout is in seconds and above 0, not inf"),
        ({"timeout": 10**9}, "It is at most 10000000."),
        ({"timeout": timedelta(seconds=5)}, "timeout is in seconds and above 0, not datetime"),
        (
            {"dedup_scope": timedelta(days=4_000_000)},
            "dedup_scope is 0 to 3153600000 seconds (36500",
        ),
        (
            {"dedup_scope": timedelta.max},
            "dedup_scope is 0 to 3153600000 seconds (36500 days), not",
        ),
        ({"dedup_scope": timedelta(seconds=-1)}, "dedup_scope is 0 to 3153600000 seconds"),
        ({"dedup_scope": "a\0"}, "dedup_scope is 'live', 'queued' or a timedelta, not 'a\\x00'"),
        ({"dedup_scope": 60}, "dedup_scope is 'live', 'queued' or a timedelta, not 60"),
        ({"queue_name": ""}, "the name of a queue has 1 to 100 characters, not 0"),
        ({"queue_name": "a" * 101}, "the name of a queue has 1 to 100 characters, not 101"),
        ({"queue_name": "a\0b"}, "the name of a queue contains a NUL character"),
        ({"queue_name": "a\ud800"}, "the name of a queue contains a lone surrogate"),
        ({"queue_name": 7}, "the name of a queue is a string, not <class 'int'>"),
        ({"priority": "high"}, "priority is a whole number, not 'high'"),
        ({"priority": float("nan")}, "priority is a whole number, not nan"),
        ({"priority": None}, "priority is a whole number, not None"),
        ({"dedup_scope": "alive"}, "dedup_scope is 'live', 'queued' or a timedelta, not 'alive'"),
        ({"dedup_key": 7}, "dedup_key is a format string or a callable, not 7"),
        ({"on_duplicate": "ignore"}, "on_duplicate is 'return', 'replace' or 'raise'"),
        ({"on_crash": "loop"}, "on_crash is 'retry' or 'fail', not 'loop'"),
        ({"sensitive": "name"}, """sensitive takes names of parameters, such as ("iban",)"""),
        ({"sensitive": (7,)}, """sensitive takes names of parameters, such as ("iban",)"""),
        ({"sensitive": ("nmae",)}, "sensitive names nmae, which is no parameter of it."),
        ({"queue_name": "nope"}, "Queue 'nope' is not valid for backend"),
        ({"queue_name": "nope"}, "TASKS['default']['QUEUES'] has default, emails"),
        ({"priority": 101}, "priority must be a whole number between -100 and 100"),
        ({"priority": -101}, "priority must be a whole number between -100 and 100"),
        ({"priority": 3.1}, "priority must be a whole number between -100 and 100"),
        ({"takes_context": True}, "does not have a first argument of 'context'"),
    ],
)
def test_an_option_that_could_not_work_is_refused_where_it_is_written(
    options: dict[str, Any], message: str
) -> None:
    decorator: Any = task
    with pytest.raises(InvalidTask) as refusal:
        decorator(**options)(greet)
    assert message in str(refusal.value)


def test_an_option_that_does_not_exist_is_refused() -> None:
    with pytest.raises(TypeError, match="dedupkey"):
        task(dedupkey="x")(greet)


def test_run_after_has_no_place_in_the_decorator() -> None:
    with pytest.raises(TypeError, match="run_after cannot be defined statically"):
        task(run_after=datetime.now(UTC))(greet)


def test_a_nested_function_is_refused() -> None:
    def inside() -> None:
        pass

    with pytest.raises(InvalidTask, match="must be defined at a module level"):
        task(inside)


@pytest.mark.parametrize(
    "moment",
    [
        *(datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC)),
        *(datetime(9999, 1, 1, tzinfo=ZoneInfo("Asia/Tokyo")), datetime(1899, 1, 1, tzinfo=UTC)),
        *(date(2030, 1, 1), timedelta(hours=1), 1_767_225_600, "2030-01-01T00:00:00Z"),
    ],
)
def test_a_time_at_which_no_job_can_be_due_is_refused_at_the_call(moment: Any) -> None:
    for made in (task(greet), tasks_api.task(greet)):
        with pytest.raises(InvalidTask, match=r"greet: run_after is a time .* 1900 and 9998, not "):
            made.using(run_after=moment)


@pytest.mark.parametrize("year", [1900, 1969, 9998])
def test_a_time_that_each_page_can_show_is_taken(year: int) -> None:
    moment = datetime(year, 12, 31, tzinfo=UTC)
    assert task(greet).using(run_after=moment).run_after == moment


def test_an_option_may_be_a_member_of_an_enumeration() -> None:
    made: Any = task(queue_name=Word.EMAILS, on_crash=Word.FAIL, dedup_scope=Word.QUEUED)(greet)
    values = (made.queue_name, made.on_crash, made.dedup_scope)
    assert [str(text) for text in values] == ["emails", "fail", "queued"]


def test_using_makes_a_copy_and_leaves_the_task_as_it_is() -> None:
    original = task(greet)
    changed = original.using(priority=5, timeout=3, dedup_key="{name}", queue_name="emails")
    assert (changed.priority, changed.timeout, changed.dedup_key) == (5, 3, "{name}")
    assert original == task(greet)


def test_using_takes_an_option_away_that_may_be_absent_and_leaves_the_others() -> None:
    keyed = task(dedup_key="greet:{name}", timeout=5, priority=3)(greet)
    changed = keyed.using(dedup_key=None, timeout=None, priority=None)
    assert (changed.dedup_key, changed.timeout, changed.priority) == (None, None, 3)


@pytest.mark.parametrize("option", ["func", "atomic", "takes_context", "expected"])
def test_using_cannot_change_what_a_worker_reads_in_the_definition(option: str) -> None:
    with pytest.raises(TypeError, match=f"cannot change {option}"):
        task(greet).using(**{option: True})


def test_using_can_be_chained() -> None:
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    changed = task(greet).using(run_after=moment).using(priority=7)
    assert (changed.run_after, changed.priority) == (moment, 7)


@pytest.mark.parametrize("change", ["dedup", "prio"])
def test_using_refuses_what_is_no_option(change: str) -> None:
    with pytest.raises(TypeError, match=rf"greet\.using\(\) has no option {change}"):
        task(greet).using(**{change: 1})


def test_using_is_validated_like_the_decorator() -> None:
    with pytest.raises(InvalidTask, match="on_duplicate"):
        task(greet).using(on_duplicate="ignore")
    assert task(greet).using(dedup_scope=timedelta(hours=1)).dedup_scope == timedelta(hours=1)


def test_coroutines_and_the_context_are_welcome() -> None:
    assert task(agreet).call("ada") == "hello ada"
    assert task(takes_context=True)(with_context).takes_context
