"""bgimport on tables of the shape that django-celery-beat and django-q2 give them."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.conf import settings
from django.core import signing
from django.core.management import CommandError, call_command
from django.db import connection, models
from django.test.utils import isolate_apps
from django.utils import timezone

from django_bgtasks.models import HistoryEntry, Job, Schedule

from . import celery_tasks

pytestmark = pytest.mark.django_db(transaction=True)
COUNT = "tests.moving.rq_tasks.count"
PLAIN = "tests.moving.rq_tasks.plain"
TEXT: Any = {"blank": True, "default": ""}
TABLES: dict[str, dict[str, models.Field[Any, Any]]] = {
    "django_celery_beat_crontabschedule": {
        name: models.CharField(max_length=60, default="*")
        for name in ("minute", "hour", "day_of_month", "month_of_year", "day_of_week", "timezone")
    },
    "django_celery_beat_intervalschedule": {
        "every": models.IntegerField(),
        "period": models.CharField(max_length=24),
    },
    "django_celery_beat_clockedschedule": {"clocked_time": models.DateTimeField()},
    "django_celery_beat_periodictask": {
        **{name: models.CharField(max_length=200, **TEXT) for name in ("name", "task", "queue")},
        **{
            name: models.TextField(default=value)
            for name, value in (("args", "[]"), ("kwargs", "{}"))
        },
        **{name: models.IntegerField(null=True) for name in ("priority", "expire_seconds")},
        **{
            f"{name}_id": models.IntegerField(null=True)
            for name in ("crontab", "interval", "clocked", "solar")
        },
        **{
            name: models.DateTimeField(null=True)
            for name in ("expires", "start_time", "last_run_at")
        },
        "one_off": models.BooleanField(default=False),
        "enabled": models.BooleanField(default=True),
    },
    "django_q_schedule": {
        **{
            name: models.CharField(max_length=256, null=True)
            for name in ("name", "func", "hook", "args", "kwargs", "cron", "cluster")
        },
        "schedule_type": models.CharField(max_length=2),
        "minutes": models.IntegerField(null=True),
        "repeats": models.IntegerField(default=-1),
        "next_run": models.DateTimeField(null=True),
        "intended_date_kwarg": models.CharField(max_length=100, null=True),
    },
    "django_q_ormq": {"payload": models.TextField()},
}


@pytest.fixture
def tables() -> Iterator[dict[str, Any]]:
    """The models of the tables, by the end of their names."""
    made: dict[str, Any] = {}
    with isolate_apps():
        for table, fields in TABLES.items():
            meta = type("Meta", (), {"app_label": "moving", "db_table": table})
            body = {"__module__": __name__, "Meta": meta, **fields}
            made[table.rpartition("_")[2]] = type(table, (models.Model,), body)
    with connection.schema_editor() as editor:
        for model in made.values():
            editor.create_model(model)
    yield {name: model.objects for name, model in made.items()}
    with connection.schema_editor() as editor:
        for model in made.values():
            editor.delete_model(model)


def bgimport(source: str, *options: str) -> str:
    out = StringIO()
    call_command("bgimport", "--from", source, *options, stdout=out)
    return out.getvalue()


def test_periodic_tasks_of_celery_become_schedules(tables: dict[str, Any]) -> None:
    ten = tables["intervalschedule"].create(every=10, period="minutes").pk
    tiny = tables["intervalschedule"].create(every=10, period="microseconds").pk
    six = tables["crontabschedule"].create(
        minute="30", hour="6", day_of_week="mon-friday", timezone="Asia/Tokyo"
    )
    once = tables["clockedschedule"].create(clocked_time=timezone.now() + timedelta(days=1))
    make = tables["periodictask"].create
    make(name="ten", task=COUNT, interval_id=ten, args="[7]", expire_seconds=60)
    make(name="six", task=COUNT, crontab_id=six.pk, args="[8]", queue="reports", enabled=False)
    make(name="once", task=COUNT, clocked_id=once.pk, one_off=True, args="[9]")
    make(name="first", task=COUNT, interval_id=ten, one_off=True, args="[10]")
    make(name="gone", task="shop.tasks.gone", interval_id=ten)
    make(name="tiny", task=COUNT, interval_id=tiny, args="[1]")
    make(name="wrong", task=COUNT, interval_id=ten, args="[1, 2]")
    make(name="ends", task=COUNT, interval_id=ten, expires=timezone.now() + timedelta(days=9))
    make(name="celery.backend_cleanup", task="celery.backend_cleanup", crontab_id=six.pk)
    [found] = json.loads(bgimport("django-celery-beat", "--json"))
    assert {left["name"] for left in found["left"]} == {"gone", "tiny", "wrong", "ends"}
    assert not Schedule.objects.exists()
    assert "4 made" in bgimport("django-celery-beat", "--apply")
    assert "0 made, 4 there before" in bgimport("django-celery-beat", "--apply")
    rows = {row.name: row for row in Schedule.objects.all()}
    assert (rows["ten"].every, rows["ten"].args) == (600, [7])
    assert (rows["six"].cron, rows["six"].zone) == ("30 6 * * 1,2,3,4,5", "Asia/Tokyo")
    assert (rows["six"].paused_at is None, rows["ten"].paused_at) == (False, None)
    assert sorted(Job.objects.values_list("args", "state")) == [
        ([9], "scheduled"),
        ([10], "scheduled"),
    ]
    assert HistoryEntry.objects.filter(via="bgimport").exists()


def test_rows_of_celery_have_its_names_of_tasks(tables: dict[str, Any]) -> None:
    ten = tables["intervalschedule"].create(every=10, period="minutes").pk
    for name, args in (("shop.renamed", "[]"), ("shop.counting", "[3]")):
        tables["periodictask"].create(name=name, task=name, interval_id=ten, args=args)
    assert "2 made" in bgimport("django-celery-beat", "--apply")
    assert dict(Schedule.objects.values_list("name", "task")) == {
        "shop.renamed": celery_tasks.renamed.path,
        "shop.counting": celery_tasks.counting.path,
    }


@pytest.mark.parametrize(
    ("fields", "expression"),
    [
        ({"day_of_week": "sat-sun"}, "* * * * 0,6"),
        ({"day_of_week": "fri - mon"}, "* * * * 0,1,5,6"),
        ({"hour": "22-2"}, "* 0,1,2,22,23 * * *"),
        ({"month_of_year": "october-2"}, "* * * 1,2,10,11,12 *"),
        ({"minute": "50-10/20", "hour": "*/3"}, "10,50 */3 * * *"),
    ],
)
def test_crontabs_of_celery_go_round_the_end_of_the_clock(
    tables: dict[str, Any], fields: dict[str, str], expression: str
) -> None:
    cron = tables["crontabschedule"].create(timezone="UTC", **fields)
    tables["periodictask"].create(name="round", task=COUNT, args="[1]", crontab_id=cron.pk)
    assert "1 made" in bgimport("django-celery-beat", "--apply")
    assert Schedule.objects.get(name="round").cron == expression


def test_a_row_with_days_of_the_week_and_of_the_month_stays(tables: dict[str, Any]) -> None:
    cron = tables["crontabschedule"].create(timezone="UTC", day_of_week="1", day_of_month="1")
    wrong = tables["crontabschedule"].create(timezone="UTC", hour="25")
    tables["periodictask"].create(name="both", task=COUNT, args="[1]", crontab_id=cron.pk)
    tables["periodictask"].create(name="wrong", task=COUNT, args="[1]", crontab_id=wrong.pk)
    [found] = json.loads(bgimport("django-celery-beat", "--json"))
    assert {left["name"] for left in found["left"]} == {"both", "wrong"}


def test_schedules_and_packages_of_django_q(tables: dict[str, Any]) -> None:
    make = tables["schedule"].create
    make(name="cron", func=COUNT, args="3", schedule_type="C", cron="0 3 * * 1")
    make(name="five", func=PLAIN, kwargs="x=1, y='z'", schedule_type="I", minutes=5)
    make(name="hooked", func=PLAIN, hook="shop.done", schedule_type="H")
    make(name="once", func=PLAIN, schedule_type="O", next_run=timezone.now())
    package = {"id": "a1", "func": PLAIN, "args": (1,), "kwargs": {"at": timezone.now()}}
    tables["ormq"].create(payload=signed(package))
    tables["ormq"].create(payload=signed(package, salt="another"))
    [found] = json.loads(bgimport("django-q", "--json"))
    assert {left["name"] for left in found["left"]} == {"hooked", "ormq:2"}
    assert "4 made" in bgimport("django-q", "--apply")
    assert "0 made, 4 there before" in bgimport("django-q", "--apply")
    assert Schedule.objects.get(name="cron").args == [3]
    assert sorted(Job.objects.values_list("state", flat=True)) == ["queued", "queued"]


def signed(package: dict[str, Any], salt: str = "default") -> str:
    data = signing.b64_encode(pickle.dumps(package)).decode()
    return signing.TimestampSigner(key=settings.SECRET_KEY, salt=salt).sign(data)


def test_a_database_without_the_tables_is_refused() -> None:
    for source in ("django-celery-beat", "django-q"):
        with pytest.raises(CommandError, match="has no table"):
            bgimport(source)
