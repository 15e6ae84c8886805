"""The settings of a backend, and which backend a task gets that names none."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from django_bgtasks.core.options import (
    Options,
    backend_settings,
    default_backend,
    entries,
    read,
    suggestion,
)

RQ_BACKEND = "django_bgtasks.backend.RQBackend"
IMMEDIATE = "django_tasks.backends.immediate.ImmediateBackend"


def options(**given: Any) -> Options:
    return read("default", {"BACKEND": RQ_BACKEND, "OPTIONS": given}).options


def test_without_options_the_defaults_hold() -> None:
    assert read("default", {"BACKEND": RQ_BACKEND}).options == Options()
    assert read("default", {"BACKEND": RQ_BACKEND, "OPTIONS": None}).options == Options()


def test_the_queue_is_called_default_where_the_entry_names_none() -> None:
    assert read("default", {"BACKEND": RQ_BACKEND}).queues == {"default"}
    assert read("default", {"BACKEND": RQ_BACKEND, "QUEUES": []}).queues == frozenset()


def test_unknown_options_are_kept_apart_and_a_near_miss_is_suggested() -> None:
    found = read(
        "default", {"BACKEND": RQ_BACKEND, "OPTIONS": {"max_dept": 3, "zzz": 1, "timeout": 5}}
    )
    assert found.unknown == ("max_dept", "zzz")
    assert found.options.timeout == 5
    assert suggestion("max_dept") == "Did you mean 'max_depth'?"
    assert suggestion("zzz").startswith("Known options: cache, redis_url")


@pytest.mark.parametrize("name", ["timeout", "kill_after", "grace", "beat_every", "dead_after"])
@pytest.mark.parametrize("value", [0, -1, "30", None, True, float("nan"), float("inf")])
def test_a_duration_is_a_number_of_seconds_above_0(name: str, value: Any) -> None:
    with pytest.raises(ImproperlyConfigured) as refusal:
        options(**{name: value})
    assert f"TASKS['default']['OPTIONS']['{name}'] must be a number of seconds above 0" in str(
        refusal.value
    )


@pytest.mark.parametrize("state", ["succeeded", "failed", "cancelled"])
@pytest.mark.parametrize("value", [-1, "90", None, True, float("nan"), 10**9])
def test_jobs_are_kept_for_a_number_of_days(state: str, value: Any) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"'keep_{state}_days'.*days"):
        options(**{f"keep_{state}_days": value})


@pytest.mark.parametrize("value", [-1, "10", 1.5, True, {"default": "10"}, {"default": -1}])
def test_a_depth_is_a_whole_number(value: Any) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"'max_depth'.*whole number"):
        options(max_depth=value)


def test_live_workers_must_have_the_time_to_beat_twice() -> None:
    with pytest.raises(ImproperlyConfigured, match="at least twice beat_every"):
        options(beat_every=6, dead_after=10)


def test_a_depth_is_for_all_queues_or_by_queue() -> None:
    assert options().depth_of("emails") is None
    assert options(max_depth=9).depth_of("emails") == 9
    by_queue = options(max_depth={"emails": 3})
    assert (by_queue.depth_of("emails"), by_queue.depth_of("default")) == (3, None)


def test_each_final_state_is_kept_for_days_of_its_own() -> None:
    assert options(keep_failed_days=0.5).retention() == {
        "succeeded": timedelta(days=7),
        "failed": timedelta(hours=12),
        "cancelled": timedelta(days=7),
    }


@pytest.mark.parametrize("tasks", [None, {}, {"default": {"BACKEND": IMMEDIATE}}])
def test_without_an_entry_of_ours_there_is_an_implicit_one(settings: Settings, tasks: Any) -> None:
    settings.TASKS = tasks
    assert list(entries()) == ["bgtasks"]
    assert default_backend() == "bgtasks"
    assert backend_settings("bgtasks").queues == frozenset()


def test_a_custom_alias_is_the_default_of_our_tasks(settings: Settings) -> None:
    settings.TASKS = {"default": {"BACKEND": IMMEDIATE}, "work": {"BACKEND": RQ_BACKEND}}
    assert default_backend() == "work"


def test_an_entry_called_default_comes_first(settings: Settings) -> None:
    settings.TASKS = {"work": {"BACKEND": RQ_BACKEND}, "default": {"BACKEND": RQ_BACKEND}}
    assert default_backend() == "default"


def test_a_subclass_of_the_backend_is_ours_too(settings: Settings) -> None:
    settings.TASKS = {"default": {"BACKEND": "tests.core.backends.Subclass"}}
    assert list(entries()) == ["default"]


def test_an_unknown_alias_is_refused_with_those_there_are(settings: Settings) -> None:
    settings.TASKS = {"work": {"BACKEND": RQ_BACKEND}}
    with pytest.raises(ImproperlyConfigured, match=r"no entry 'nope'.*: work\."):
        backend_settings("nope")


def test_settings_that_change_are_read_anew(settings: Settings) -> None:
    settings.TASKS = {"default": {"BACKEND": RQ_BACKEND, "OPTIONS": {"timeout": 7}}}
    assert backend_settings("default").options.timeout == 7
