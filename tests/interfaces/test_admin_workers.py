"""The admin of workers and of the idempotency log."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client
from pytest_django import Settings

from django_bgtasks.core import clock
from django_bgtasks.core.states import State
from django_bgtasks.models import EffectState, IdempotencyRecord

from .rows import make_attempt, make_job, make_record, make_worker

pytestmark = pytest.mark.django_db

WORKERS = "/admin/django_bgtasks/worker/"
RECORDS = "/admin/django_bgtasks/idempotencyrecord/"
NO_WORKER = "No worker is running. Start one: <code>python manage.py bgworker</code>"


def html_of(client: Client, url: str) -> str:
    response = client.get(url)
    assert response.status_code == 200
    return response.content.decode()


def test_an_empty_list_of_workers_says_how_to_start_one(admin_client: Client) -> None:
    assert NO_WORKER in html_of(admin_client, WORKERS)


def test_a_list_without_a_live_worker_says_so_too(admin_client: Client) -> None:
    make_worker(stopped_at=clock.now())
    assert NO_WORKER in html_of(admin_client, WORKERS)
    make_worker()
    assert NO_WORKER not in html_of(admin_client, WORKERS)


@pytest.mark.parametrize(
    ("silent_for", "ended", "health"),
    [
        (1, None, "alive"),
        (60, None, "late"),
        (1, "stopped_at", "stopped"),
        (60, "lost_at", "lost"),
    ],
)
def test_the_health_of_a_worker(
    admin_client: Client, silent_for: int, ended: str | None, health: str
) -> None:
    fields = {ended: clock.now()} if ended else {}
    worker = make_worker(last_seen_at=clock.now() - timedelta(seconds=silent_for), **fields)
    for url in (WORKERS, f"{WORKERS}{worker.pk}/change/"):
        assert f"bgtasks-is-{health}" in html_of(admin_client, url)


def test_a_worker_shows_its_queues_and_how_many_jobs_it_runs(admin_client: Client) -> None:
    worker = make_worker(queues=["emails", "default"])
    for _ in range(3):
        make_job(State.RUNNING, worker=worker.pk)
    make_job(State.SUCCEEDED, worker=worker.pk)
    html = html_of(admin_client, WORKERS)
    assert '<td class="field-running"><b>3</b></td>' in html
    assert html.index(">emails<") < html.index(">default<")


def test_a_worker_of_a_backend_that_is_gone_is_still_shown(admin_client: Client) -> None:
    make_worker(backend="of-yesterday")
    assert "bgtasks-is-alive" in html_of(admin_client, WORKERS)


def test_workers_are_only_read(admin_client: Client) -> None:
    worker = make_worker()
    for path in ("add/", f"{worker.pk}/delete/"):
        assert admin_client.get(f"{WORKERS}{path}").status_code == 403
    assert admin_client.post(f"{WORKERS}{worker.pk}/change/", {"pid": 1}).status_code == 403


def test_a_record_shows_its_job_and_what_it_gave(admin_client: Client) -> None:
    job = make_job()
    record = make_record(job=job.pk, response={"charge": "ch_1"})
    html = html_of(admin_client, f"{RECORDS}{record.pk}/change/")
    assert "&quot;charge&quot;: &quot;ch_1&quot;" in html
    assert f"/admin/django_bgtasks/job/{job.pk}/change/" in html
    assert "What to do" not in html


def test_an_unknown_effect_says_what_to_do(admin_client: Client) -> None:
    record = make_record(EffectState.UNKNOWN)
    html = html_of(admin_client, f"{RECORDS}{record.pk}/change/")
    assert "What to do" in html
    assert "delete this record and retry the job" in html


@pytest.mark.parametrize("term", ["charge:7", "01930000-0000-7000-8000-000000000001"])
def test_records_are_found_by_key_and_by_job(admin_client: Client, term: str) -> None:
    record = make_record(job="01930000-0000-7000-8000-000000000001")
    make_record(key="charge:77")
    found = admin_client.get(RECORDS, {"q": term}).context["cl"].result_list
    assert list(found) == [record]


def test_who_may_delete_a_record_makes_its_key_forgotten(staff: Callable[..., Client]) -> None:
    record = make_record()
    client = staff("view_idempotencyrecord", "delete_idempotencyrecord")
    client.post(f"{RECORDS}{record.pk}/delete/", {"post": "yes"})
    assert not IdempotencyRecord.objects.exists()


def test_who_may_only_look_forgets_nothing(staff: Callable[..., Client]) -> None:
    record, client = make_record(), staff("view_idempotencyrecord")
    response = client.post(f"{RECORDS}{record.pk}/delete/", {"post": "yes"})
    assert response.status_code == 403
    assert client.post(f"{RECORDS}{record.pk}/change/", {"key": "x"}).status_code == 403
    assert IdempotencyRecord.objects.get().key == "charge:7"


def test_blobs_are_nobodys_to_read(admin_client: Client) -> None:
    assert admin_client.get("/admin/django_bgtasks/blob/").status_code == 404


def test_numbers_that_name_something_have_no_separators(
    admin_client: Client, settings: Settings
) -> None:
    settings.USE_THOUSAND_SEPARATOR = True
    worker = make_worker(pid=1234567)
    job = make_job(State.FAILED, worker=worker.pk, attempt=1234, args=[7654321])
    make_attempt(job, attempt=1234)
    record = make_record(pk=1234567, job=job.pk, response={"id": 7654321})
    for url in (
        *(WORKERS, f"{WORKERS}{worker.pk}/change/", RECORDS, f"{RECORDS}{record.pk}/change/"),
        *("/admin/django_bgtasks/job/", f"/admin/django_bgtasks/job/{job.pk}/change/"),
    ):
        html = html_of(admin_client, url)
        assert not re.findall(r"1,234|7,654,321", html), url
