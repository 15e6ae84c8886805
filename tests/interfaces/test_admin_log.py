"""The log of a job on its page in the admin, and nowhere else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from django_bgtasks import job_status
from django_bgtasks.models import AttemptLog
from django_bgtasks.testing import run_jobs, without_redis
from tests.app import logged

from .rows import make_attempt, make_job

pytestmark = pytest.mark.django_db
MOMENT = "2026-11-28T09:30:01.250000+00:00"


def page(client: Client, job: Any) -> str:
    response = client.get(f"/admin/django_bgtasks/job/{job.pk}/change/")
    assert response.status_code == 200
    return response.content.decode()


def test_each_attempt_shows_what_it_has_logged(admin_client: Client) -> None:
    job = make_job("failed", attempt=2, max_attempts=3, error="no", error_code="exception")
    for number in (1, 2):
        make_attempt(job, attempt=number)
        line = [MOMENT, "WARNING", "shop.orders", f"<b>line {number}</b>\nand more"]
        AttemptLog.objects.create(job=job, attempt=number, lines=[line], left_out=number - 1)
    html = page(admin_client, job)
    assert html.count("Log: 1 line<") == 2
    assert "&lt;b&gt;line 2&lt;/b&gt;\nand more" in html
    assert html.count("1 earlier line is left out.") == 1
    assert html.index("line 2") < html.index("line 1")
    assert "09:30:01.250" in html


def test_an_attempt_that_was_given_back_shows_its_log(admin_client: Client) -> None:
    with without_redis():
        result = logged.says_and_waits.enqueue()
        run_jobs()
    html = page(admin_client, result.job)
    assert 'id="bgtasks-attempt-1"' in html
    assert "later, please" in html


def test_without_a_log_nothing_is_said_of_one(admin_client: Client) -> None:
    assert "bgtasks-log" not in page(admin_client, make_job("succeeded", attempt=1))


def test_the_status_of_a_job_does_not_have_its_log(rf: Any) -> None:
    user = User.objects.create_user("ada")
    with without_redis():
        result = logged.says.using(owner=user).enqueue("for the admin only")
        run_jobs()
    request = rf.get("/")
    request.user = user
    found = json.loads(job_status(request, result.job.pk).content)
    assert found["state"] == "succeeded"
    assert "for the admin only" not in json.dumps(found)
