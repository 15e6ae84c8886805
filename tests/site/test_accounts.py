"""Emails: a welcome exactly once, and a password reset that overtakes."""

from __future__ import annotations

import re
from types import ModuleType

from django.contrib.auth.models import User
from django.core import mail
from django.test import Client

from django_bgtasks.models import Job
from testproject.office.tasks.emails import send_password_reset, send_welcome_email

SECRET = "correct horse battery"
FORM = {
    "username": "cleo",
    "email": "cleo@example.org",
    "password1": SECRET,
    "password2": SECRET,
}


def test_one_welcome_email_however_often_the_button_is_pressed(jobs: ModuleType) -> None:
    ids = {sign_up() for _ in range(3)}
    assert len(ids) == 1
    jobs.run_jobs()
    sign_up()
    jobs.run_jobs()
    assert [message.to for message in mail.outbox] == [["cleo@example.org"]]
    assert User.objects.filter(username="cleo").count() == 1


def sign_up() -> str:
    response = Client().post("/accounts/sign-up/", FORM, headers={"Accept": "application/json"})
    assert response.status_code == 202, response.content
    job_id: str = response.json()["id"]
    return job_id


def test_a_browser_is_led_to_the_page_of_the_job(client: Client, jobs: ModuleType) -> None:
    response = client.post("/accounts/sign-up/", FORM, headers={"Accept": "text/html,*/*;q=0.8"})
    assert response.status_code == 303
    page = client.get(response.headers["Location"])
    assert "Send the welcome email" in page.text
    assert "queued" in page.text


def test_another_persons_name_is_no_second_press(jobs: ModuleType, ada: User) -> None:
    form = {**FORM, "username": "ada"}
    response = Client().post("/accounts/sign-up/", form)
    assert response.status_code == 422
    assert "already exists" in response.text
    jobs.assert_not_enqueued(send_welcome_email)


def test_a_password_reset_overtakes_the_emails_that_wait(jobs: ModuleType, ada: User) -> None:
    sign_up()
    Client().post("/accounts/reset/", {"email": "ada@example.org"})
    jobs.run_jobs()
    assert [m.subject for m in mail.outbox] == ["Your new password", "Welcome to the Office"]


def test_the_link_in_the_email_works_and_is_not_in_the_ledger(
    jobs: ModuleType, ada: User, client: Client
) -> None:
    client.post("/accounts/reset/", {"email": "ada@example.org"})
    job = jobs.assert_enqueued(send_password_reset, [ada.pk, "http://testserver"])
    jobs.run_jobs()
    (link,) = re.findall(r"http://testserver(/accounts/reset/\S+)", str(mail.outbox[0].body))
    token = link.rstrip("/").rpartition("/")[2]
    job.refresh_from_db()
    assert token not in f"{job.args} {job.kwargs} {job.result}"
    response = client.get(link, follow=True)
    new = {"new_password1": "another horse battery", "new_password2": "another horse battery"}
    client.post(response.request["PATH_INFO"], new)
    assert User.objects.get(pk=ada.pk).check_password("another horse battery")


def test_an_unknown_address_gets_the_same_answer_and_no_job(jobs: ModuleType, ada: User) -> None:
    known = Client().post("/accounts/reset/", {"email": "ada@example.org"})
    unknown = Client().post("/accounts/reset/", {"email": "nobody@example.org"})
    assert (known.status_code, known.headers["Location"]) == (
        unknown.status_code,
        unknown.headers["Location"],
    )
    assert Job.objects.count() == 1


def test_the_reset_form_sends_one_email_a_minute(jobs: ModuleType, ada: User) -> None:
    for _ in range(3):
        Client().post("/accounts/reset/", {"email": "ada@example.org"})
        jobs.run_jobs()
    assert len(mail.outbox) == 1
