"""The delivery of email: through which backend, and what becomes of a refusal."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMessage, send_mail
from django.test import override_settings

from django_bgtasks import testing
from django_bgtasks.core.states import State
from django_bgtasks.jobs.actions import run_job_now
from django_bgtasks.mail import BackgroundEmailBackend

from .mailing import BACKGROUND, FILES, HAS_MAILERS, SMTP, old_settings, sending_to, sending_with
from .smtp import mail_server

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("background_mail")]


def test_delivering_with_the_backend_that_enqueues_is_refused() -> None:
    with override_settings(BGTASKS_EMAIL_BACKEND=BACKGROUND):
        BackgroundEmailBackend().send_messages([EmailMessage("Hello", to=["you@example.com"])])
        [job] = testing.run_jobs()
    assert job.state == State.FAILED
    assert "BGTASKS_EMAIL_BACKEND" in job.error


@pytest.mark.skipif(not HAS_MAILERS, reason="MAILERS came with Django 6.1")
@pytest.mark.parametrize("options", [{}, {"mailer": "default"}, {"mailer": "unheard-of"}])
def test_a_mailer_that_names_none_to_deliver_is_refused(options: dict[str, str]) -> None:
    with (
        override_settings(MAILERS={"default": {"BACKEND": BACKGROUND, "OPTIONS": options}}),
        pytest.raises(ImproperlyConfigured, match="mailer"),
    ):
        send_mail("Hello", "Text", "me@example.com", ["you@example.com"])


def test_without_mailers_the_old_settings_deliver_and_we_do_not_warn() -> None:
    message = EmailMessage("Hello", "Text", "me@example.com", ["you@example.com"])
    old = {"BGTASKS_EMAIL_BACKEND": SMTP, "EMAIL_HOST": "127.0.0.1"}
    with mail_server() as server, old_settings(EMAIL_PORT=server.port, **old):
        assert BackgroundEmailBackend().send_messages([message]) == 1
        [job] = testing.run_jobs()
    assert job.state == State.SUCCEEDED, job.error
    assert len(server.messages) == 1


def test_the_real_backend_may_write_files(tmp_path: Path) -> None:
    with sending_with(FILES, file_path=str(tmp_path)):
        send_mail("Hello", "Text", "me@example.com", ["you@example.com"])
        [job] = testing.run_jobs()
    assert job.state == State.SUCCEEDED, job.error
    [file] = tmp_path.iterdir()
    assert "Subject: Hello" in file.read_text()


def test_blind_copies_are_delivered_and_not_shown() -> None:
    with mail_server() as server, sending_to(server):
        EmailMessage("Hello", "Text", to=["to@example.com"], bcc=["bcc@example.com"]).send()
        [job] = testing.run_jobs()
    assert job.state == State.SUCCEEDED, job.error
    assert server.recipients == ["to@example.com", "bcc@example.com"]
    assert b"bcc@example.com" not in server.messages[0]


def test_a_recipient_refused_for_good_is_not_tried_again() -> None:
    with mail_server("550 no such user") as server, sending_to(server):
        send_mail("Hello", "Text", "me@example.com", ["nobody@example.com"])
        [job] = testing.run_jobs()
    assert job.state == State.FAILED
    assert "no such user" in job.error
    assert job.attempt == 1


def test_a_recipient_refused_for_now_is_tried_again_and_arrives() -> None:
    with mail_server("451 greylisted") as server, sending_to(server):
        send_mail("Hello", "Text", "me@example.com", ["you@example.com"])
        [job] = testing.run_jobs()
        assert (job.state, job.attempt) == (State.SCHEDULED, 1)
        server.rcpt_answer = "250 OK"
        run_job_now(job.pk)
        [job] = testing.run_jobs()
    assert job.state == State.SUCCEEDED
    assert len(server.messages) == 1


def test_a_mail_server_that_is_down_is_tried_again() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        with sending_with(SMTP, host="127.0.0.1", port=deaf.getsockname()[1]):
            send_mail("Hello", "Text", "me@example.com", ["you@example.com"])
            [job] = testing.run_jobs()
    assert job.state == State.SCHEDULED
    assert job.attempts.get().exception_class.endswith("ConnectionRefusedError")
