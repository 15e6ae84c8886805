"""Schedules of Celery's beat."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.checks import run_checks
from django.test import override_settings
from pytest_django import Settings

from django_bgtasks import Cron, Every, InvalidSchedule
from django_bgtasks.contrib.celery import Celery
from django_bgtasks.contrib.celery.beat import declare_all, declare_entries
from django_bgtasks.contrib.celery.conf import NAMESPACES, OVERRIDES
from django_bgtasks.contrib.celery.eager import is_eager
from django_bgtasks.contrib.celery.registry import APPS
from django_bgtasks.contrib.celery.request import EXTRAS
from django_bgtasks.contrib.celery.schedules import beat_timing, crontab, schedule, solar
from django_bgtasks.jobs.discovery import AFTER_DISCOVERY
from django_bgtasks.jobs.task import SCHEDULED
from django_bgtasks.models import Job
from django_bgtasks.testing import run_schedules, without_redis
from tests.moving import celery_tasks as tasks

ADD = "tests.moving.celery_tasks.add"


@pytest.fixture
def app() -> Iterator[Any]:
    """An app that is gone after the test, with its schedules."""
    before, hooks = dict(SCHEDULED), list(AFTER_DISCOVERY)
    yield Celery("site1")
    APPS.pop()
    OVERRIDES.clear()
    NAMESPACES.clear()
    AFTER_DISCOVERY[:] = hooks
    SCHEDULED.clear()
    SCHEDULED.update(before)


@pytest.mark.parametrize(
    ("fields", "expression"),
    [
        ({}, "* * * * *"),
        ({"minute": 0}, "0 * * * *"),
        ({"minute": "*/15"}, "*/15 * * * *"),
        ({"minute": "0", "hour": "*/3,8-17"}, "0 0,3,6,8,9,10,11,12,13,14,15,16,17,18,21 * * *"),
        ({"minute": 30, "hour": 7, "day_of_week": 1}, "30 7 * * 1"),
        ({"minute": 0, "hour": 0, "day_of_week": "sunday"}, "0 0 * * 0"),
        ({"minute": 0, "hour": 0, "day_of_week": "mon-fri"}, "0 0 * * 1,2,3,4,5"),
        ({"minute": 0, "hour": 0, "day_of_week": "fri-mon"}, "0 0 * * 0,1,5,6"),
        ({"minute": 0, "hour": 0, "day_of_month": "1-7,15"}, "0 0 1,2,3,4,5,6,7,15 * *"),
        ({"minute": [0, 30], "hour": {9, 17}}, "0,30 9,17 * * *"),
        ({"minute": 0, "hour": 0, "day_of_month": 1, "month_of_year": "*/3"}, "0 0 1 */3 *"),
        ({"minute": 0, "hour": 0, "day_of_month": 1, "month_of_year": "jan"}, "0 0 1 1 *"),
        ({"minute": "50-10/5"}, "0,5,10,50,55 * * * *"),
    ],
)
def test_a_crontab_is_a_cron_expression(fields: dict[str, Any], expression: str) -> None:
    assert crontab(**fields).expression == expression
    assert beat_timing(crontab(**fields)) == Cron(expression, zone="UTC")


def test_times_of_other_kinds(settings: Settings) -> None:
    settings.CELERY_TIMEZONE = "Europe/Berlin"
    assert beat_timing(crontab(minute=5)) == Cron("5 * * * *", zone="Europe/Berlin")
    assert beat_timing(30) == beat_timing(timedelta(seconds=30)) == Every(seconds=30)
    assert beat_timing(schedule(run_every=timedelta(minutes=1))) == Every(minutes=1)
    assert crontab.from_string("0 6 * * 1") == crontab(minute=0, hour=6, day_of_week=1)


def test_what_has_no_equal_is_refused() -> None:
    both = crontab(minute=0, hour=0, day_of_week=1, day_of_month="1-7")
    for wrong in (lambda: beat_timing(both), lambda: beat_timing("soon"), solar):
        with pytest.raises(InvalidSchedule, match=r"docs/moving\.md"):
            wrong()
    for field in ({"hour": 24}, {"minute": "x"}, {"day_of_month": 0}):
        with pytest.raises(ValueError, match="crontab"):
            crontab(**field)


@pytest.mark.django_db(transaction=True)
def test_entries_of_beat_run_by_their_names(app: Any) -> None:
    app.conf.beat_schedule = {
        "every hour": {"task": ADD, "schedule": crontab(minute=0), "args": (1, 2)},
        "nightly": {
            "task": ADD,
            "schedule": crontab(minute=30, hour=2),
            "kwargs": {"x": 3, "y": 4},
            "options": {"queue": "reports", "expires": 60, "priority": 5, "headers": {"a": 1}},
        },
        "of another app": {"task": "other.tasks.none", "schedule": 10},
    }
    start = datetime(2026, 11, 29, 0, 30, tzinfo=UTC)
    with without_redis():
        jobs = run_schedules(
            start + timedelta(hours=3), start=start, only=["every hour", "nightly"]
        )
    assert [job.result for job in jobs] == [3, 3, 7, 3]
    nightly = next(job for job in jobs if job.result == 7)
    assert (nightly.queue, nightly.priority) == ("reports", 5)
    assert nightly.kwargs == {"x": 3, "y": 4, EXTRAS: {"headers": {"a": 1}}}


@pytest.mark.django_db(transaction=True)
def test_a_receiver_adds_schedules_when_all_tasks_are_there(app: Any) -> None:
    def set_up(sender: Any, **kwargs: Any) -> None:
        sender.add_periodic_task(10.0, tasks.add.s(1, 1), name="add every 10")
        sender.add_periodic_task(crontab(hour=7), tasks.add.s(2, 2), queue="emails")

    assert app.on_after_finalize.connect(set_up) is set_up
    start = datetime(2026, 11, 29, 6, 59, 55, tzinfo=UTC)
    with without_redis():
        run_schedules(start + timedelta(seconds=30), start=start)
    queues = set(Job.objects.values_list("queue", "result"))
    assert queues == {("default", 2), ("emails", 4)}


def test_an_entry_that_cannot_be_fired_is_left_out_and_the_checks_name_it(
    app: Any, caplog: pytest.LogCaptureFixture
) -> None:
    both = crontab(minute=0, hour=0, day_of_week=1, day_of_month="1-7")
    good = {"task": ADD, "schedule": 10, "args": (1, 2)}
    for entry, text in (
        ({"wrong": 1}, "wrong"),
        ({"options": {"countdown": 3}}, "itself when it runs"),
        ({"args": (1,)}, "missing a required"),
        ({"schedule": both}, "days of the week and of the month"),
        ({"schedule": "soon"}, "no crontab"),
        ({"options": {"link": tasks.note.s()}}, "link"),
    ):
        caplog.clear()
        app.conf.beat_schedule = {"bad": {**good, **entry}, "good": good}
        assert "bad" not in SCHEDULED
        assert "good" in SCHEDULED
        (found,) = [each for each in run_checks(tags=["bgtasks"]) if each.id == "bgtasks.E016"]
        assert found.msg.startswith("The entry 'bad' of the beat schedule: ")
        assert text in found.msg
        assert found.msg in caplog.text


def test_an_entry_without_a_schedule_is_named(app: Any) -> None:
    app.conf.beat_schedule = {"bad": {"task": ADD}}
    ids = [each.id for each in run_checks(tags=["bgtasks"])]
    assert "bgtasks.E016" in ids


def test_an_entry_that_is_switched_off_is_no_schedule(app: Any) -> None:
    entry = {"task": ADD, "schedule": 10, "args": (1, 2)}
    app.conf.beat_schedule = {
        "off": {**entry, "enabled": False},
        "on": {**entry, "enabled": True},
        "wrong and off": {**entry, "schedule": "soon", "enabled": False},
    }
    assert {"off", "on", "wrong and off"} & set(SCHEDULED) == {"on"}
    assert "bgtasks.E016" not in [each.id for each in run_checks(tags=["bgtasks"])]


def test_the_schedule_of_the_settings_counts(settings: Settings, app: Any) -> None:
    entry = {"task": ADD, "schedule": 10, "args": (1, 2)}
    settings.CELERY_BEAT_SCHEDULE = {"of settings": entry}
    declare_entries(tasks.add)
    assert SCHEDULED["of settings"].schedule == Every(
        seconds=10, args=(1, 2), kwargs={}, overlap="allow"
    )


@pytest.mark.parametrize("given", ["django.conf:settings", "the object"])
def test_the_settings_begin_with_the_namespace_of_the_app(
    settings: Settings, app: Any, given: str
) -> None:
    entry = {"task": ADD, "schedule": 10, "args": (1, 2)}
    settings.MQ_BEAT_SCHEDULE = {"of the namespace": entry}
    settings.MQ_TASK_ALWAYS_EAGER = True
    settings.CELERY_TASK_ALWAYS_EAGER = settings.CELERY_ALWAYS_EAGER = False
    source = given if given.startswith("django") else django_settings
    app.config_from_object(source, namespace="MQ")
    assert SCHEDULED["of the namespace"].schedule
    assert tasks.add.delay(1, 2).get() == 3
    assert is_eager()
    assert app.conf["MQ_TASK_ALWAYS_EAGER"]
    with override_settings(MQ_TASK_ALWAYS_EAGER=False):
        assert not is_eager()
    app.config_from_object("django.conf:settings", namespace="CELERY")
    assert not is_eager()


def test_what_nobody_fires_and_what_counts_in_another_way_is_warned_of(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.CELERY_BEAT_SCHEDULE = {
        "no dict": crontab(),
        "gone": {"task": "other.tasks.none", "schedule": 10},
    }
    monkeypatch.setattr(tasks.add, "rate_limit", "10/m")
    messages = {message.id: message for message in run_checks(tags=["bgtasks"])}
    assert "other.tasks.none" in messages["bgtasks.W008"].msg
    assert "across all workers" in messages["bgtasks.W007"].msg


def test_modules_that_the_app_names_are_imported_with_the_others(app: Any) -> None:
    entry = {"task": "tests.moving.celery_included.included", "schedule": 10}
    app.conf.beat_schedule = {"included": entry}
    app.autodiscover_tasks(lambda: ["tests.moving", "no.such.App"], "celery_included")
    app.autodiscover_tasks(["tests.moving.celery_tasks"], None)
    app.autodiscover_tasks(related_name="no_such_module")
    assert "included" not in SCHEDULED
    app.tell_receivers()
    declare_all()
    assert SCHEDULED["included"].queue_name == "uploads"
