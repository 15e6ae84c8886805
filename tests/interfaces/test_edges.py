"""A stored value at the edge of what a database holds must not break a page, for good."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.template import Context, Template
from django.test import Client, RequestFactory, override_settings
from django.utils import translation

from django_bgtasks.core.states import FINAL, State
from django_bgtasks.models import Attempt, IdempotencyRecord, Job, Worker

from .commands import run
from .rows import make_attempt, make_job, make_record, make_worker

pytestmark = pytest.mark.django_db
FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
ZONES = ["UTC", "Asia/Tokyo", "America/New_York", "Pacific/Kiritimati"]


def times_of(model: type[Any], moment: datetime) -> dict[str, datetime]:
    """That time in each of a row's times."""
    fields = [
        field.name for field in model._meta.fields if field.get_internal_type() == "DateTimeField"
    ]
    return dict.fromkeys(fields, moment)


def rows_at(moment: datetime, owner: User) -> list[Job]:
    """A job in each state, an attempt, a record and a worker, all of whose times are this one."""
    jobs = [make_job(state, owner=owner, attempt=1) for state in State.values]
    for job in jobs:
        times = times_of(Job, moment)
        if job.state not in FINAL:
            del times["finished_at"]
        Job.objects.filter(pk=job.pk).update(**times)
    make_attempt(jobs[-1]), make_worker(), make_record(job=jobs[-1].pk)
    for model in (Attempt, Worker, IdempotencyRecord):
        model.objects.update(**times_of(model, moment))
    for ended in ({}, {"lost_at": moment}):
        make_worker(started_at=moment, last_seen_at=moment, **ended)
    return jobs


@pytest.mark.long(after=2)
@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("moment", [FIRST, LAST], ids=["first", "last"])
def test_a_time_at_the_edge_breaks_no_page(
    admin_client: Client, admin_user: User, zone: str, moment: datetime
) -> None:
    with override_settings(TIME_ZONE=zone):
        jobs = rows_at(moment, admin_user)
        records = IdempotencyRecord.objects.values_list("pk", flat=True)
        workers = Worker.objects.values_list("pk", flat=True)
        pages = [
            *(f"/admin/django_bgtasks/{name}/" for name in ("job", "idempotencyrecord", "worker")),
            "/admin/django_bgtasks/dashboard/",
            "/admin/django_bgtasks/job/?state=stuck",
            *(f"/admin/django_bgtasks/job/{job.pk}/change/" for job in jobs),
            *(f"/admin/django_bgtasks/job/{job.pk}/delete/" for job in jobs),
            *(f"/admin/django_bgtasks/idempotencyrecord/{pk}/change/" for pk in records),
            *(f"/admin/django_bgtasks/worker/{pk}/change/" for pk in workers),
            *(f"/jobs/{job.pk}/" for job in jobs),
        ]
        for page in pages:
            assert admin_client.get(page).status_code in (200, 302), page


@pytest.mark.parametrize(
    ("moment", "health", "code"), [(FIRST, "late", 2), (LAST, "alive", 1)], ids=["first", "last"]
)
def test_a_time_at_the_edge_breaks_no_command(
    admin_user: User, moment: datetime, health: str, code: int, redis_client: Any
) -> None:
    """What a far time makes of ages and health is told, and each command does its work."""
    with override_settings(TIME_ZONE="Asia/Tokyo"):
        jobs = rows_at(moment, admin_user)
        page, ended = run("bgstatus")
        assert (f"db1:42  {health}" in page, ended) == (True, code)
        data, ended = run("bgstatus", "--json")
        answer = json.loads(data)
        [queue] = [queue for queue in answer["queues"] if queue["name"] == "default"]
        assert [queue[name] for name in ("queued", "scheduled", "running")] == [1, 1, 1]
        assert (answer["workers"][0]["health"], ended) == (health, code)
        found, ended = run("bgdoctor")
        # The running job's worker has no row: that is a warning.
        assert ("No worker is running." in found, ended) == (code == 2, code - 1)
        assert run("bgretry", "--all") == ("1 job will run again.\n", 0)
        [failed] = [job for job in jobs if job.state == "failed"]
        assert Job.objects.get(pk=failed.pk).state == "queued"


ODD = ["%00", "a%00b", "%ED%A0%80", "%F0%9F%90%98", "9" * 400, "nan", "1e400", "-1"]


@pytest.mark.long(after=2)
@pytest.mark.parametrize("odd", ODD)
def test_an_address_with_odd_text_breaks_no_page(admin_client: Client, odd: str) -> None:
    job = make_job()
    make_record()
    for page in (
        *(f"/admin/django_bgtasks/job/?{name}={odd}" for name in ("q", "queue", "task", "state")),
        *(f"/admin/django_bgtasks/job/?{name}={odd}" for name in ("age", "p", "o", "all")),
        f"/admin/django_bgtasks/idempotencyrecord/?q={odd}",
        f"/admin/django_bgtasks/worker/?q={odd}",
        f"/admin/django_bgtasks/job/{odd}/change/",
        f"/admin/django_bgtasks/idempotencyrecord/{odd}/change/",
        f"/admin/django_bgtasks/dashboard/?range={odd}",
        f"/jobs/{job.pk}/?wait={odd if odd != '9' * 400 else 0}&seen={odd}",
    ):
        assert admin_client.get(page).status_code in (200, 302, 404), page


@pytest.mark.parametrize(
    ("progress", "percent", "figures"),
    [
        ((0.5, 1.0), "50 %", ("0.5", "1")),
        ((0.29, 1.0), "29 %", ("0.29", "1")),
        ((3.0, 10.0), "30 %", ("3", "10")),
        ((2.0**70, 2.0**71), "50 %", (str(2**70), str(2**71))),
        ((12.0, 10.0), "100 %", ("12", "10")),
        ((1.7e308, 5e-324), "100 %", (str(int(1.7e308)), "5e-324")),
        ((3.0, 0.0), "", ("3", "")),
        ((3.0, None), "", ("3", "")),
    ],
)
def test_progress_of_any_size_is_shown_by_all_that_show_it(
    admin_client: Client,
    progress: tuple[float, float | None],
    percent: str,
    figures: tuple[str, str],
) -> None:
    job = make_job(State.RUNNING, progress_done=progress[0], progress_total=progress[1])
    status = admin_client.get(f"/jobs/{job.pk}/").json()["progress"]
    assert (status["done"], status["total"]) == progress
    page = admin_client.get(f"/admin/django_bgtasks/job/{job.pk}/change/").content.decode()
    request = RequestFactory().get("/")
    with translation.override("de"):
        tag = Template("{% load bgtasks %}{% bgtasks_progress job %}")
        bar = tag.render(Context({"job": job, "request": request}))
    assert f"data-share>{percent}<" in bar
    done, total = figures
    if total:
        assert f'max="{total}" value="{done}"' in bar
        assert f'<progress value="{done}" max="{total}"></progress> {done} / {total}' in page
    else:
        assert "max=" not in bar
