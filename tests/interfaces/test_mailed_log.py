"""A mail that fails sends no mail: the log of a mail job never goes through a mail job."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from django import VERSION
from django.core.mail import EmailMessage, mail_admins, send_mail
from django.core.mail.backends.base import BaseEmailBackend
from django.test import override_settings
from django.utils.log import AdminEmailHandler
from pytest_django import Settings

from django_bgtasks import JobTimeout, job_retrying, task, testing
from django_bgtasks.core.compat import api_signals
from django_bgtasks.core.states import State
from django_bgtasks.mail import BackgroundEmailBackend, deliver_email, direct
from django_bgtasks.models import Job
from tests.app.tasks import fail

from ..workers import WorkerFactory
from .mailed_log import ADMINS, LOGS
from .mailing import BACKGROUND, HAS_MAILERS, outbox, sending_to
from .smtp import MailServer, mail_server

ADMIN = "admin@example.com"


def site(server: MailServer, log: str = "default", **more: str) -> dict[str, str]:
    return {
        "DJANGO_SETTINGS_MODULE": "tests.interfaces.mailed_log",
        "BGTASKS_TEST_SMTP_PORT": str(server.port),
        "BGTASKS_TEST_LOGGING": json.dumps(LOGS[log]),
        **more,
    }


def enqueue_mail() -> None:
    backend = BackgroundEmailBackend(mailer="real" if HAS_MAILERS else None)
    assert backend.send_messages([EmailMessage("Hi", "", "", ["you@x.org"])]) == 1


# --- a real worker ------------------------------------------------------------------------------


@pytest.mark.long(after=2)
@pytest.mark.slow
@pytest.mark.parametrize("log", LOGS)
def test_a_refused_sender_is_one_failed_job(bgworker: WorkerFactory, log: str) -> None:
    with mail_server(mail_answer="550 we do not know you") as server:
        for _ in range(3):
            enqueue_mail()
        # It would not come to its end.
        worker = bgworker("--burst", env=site(server, log))
        assert worker.wait(60) == 0
        job_states = list(Job.objects.values_list("task", "state"))
    assert job_states == [(deliver_email.module_path, State.FAILED)] * 3
    # Each job once, and the log of a process at most once, for it does not try again soon.
    assert server.senders <= 3 + 10


@pytest.mark.long(after=1)
@pytest.mark.slow
@pytest.mark.parametrize("log", ["default", "root"])
def test_a_mail_job_whose_process_dies_is_one_failed_job(bgworker: WorkerFactory, log: str) -> None:
    """Maintenance settles it and logs that, and so does the parent."""
    with mail_server(mail_answer="550 we do not know you") as server:
        enqueue_mail()
        kills = {"BGTASKS_TEST_MAIL_BACKEND": "tests.interfaces.mailed_log.Kills"}
        worker = bgworker("--burst", env=site(server, log, **kills))
        assert worker.wait(100) == 0
    [job] = Job.objects.all()
    assert (job.task, job.error_code) == (deliver_email.module_path, "process_killed")
    assert job.state in (State.FAILED, State.SCHEDULED)


@pytest.mark.slow
def test_a_backend_that_tells_the_administrators_makes_no_jobs(bgworker: WorkerFactory) -> None:
    tells = {"BGTASKS_TEST_MAIL_BACKEND": "tests.interfaces.mailed_log.TellsAdmins"}
    with mail_server() as server:
        enqueue_mail()
        worker = bgworker("--burst", env=site(server, **tells))
        assert worker.wait(60) == 0
    [job] = Job.objects.all()
    assert job.state == State.FAILED


@pytest.mark.long(after=2)
@pytest.mark.slow
# The log of the tasks API before Django 6.0 is not below "django".
@pytest.mark.parametrize("log", [log for log in LOGS if log != "default" or VERSION >= (6, 0)])
def test_the_administrators_learn_of_another_task_that_fails(
    bgworker: WorkerFactory, log: str
) -> None:
    with mail_server() as server:
        fail.enqueue("the reason")
        worker = bgworker("--burst", env=site(server, log))
        assert worker.wait(60) == 0
        assert ADMIN in server.recipients
        assert any(b"the reason" in message for message in server.messages)
    # The worker sends what it logs itself: its log is not a job.
    assert [job.state for job in Job.objects.all()] == [State.FAILED]


# --- in one process -----------------------------------------------------------------------------


@pytest.fixture
def mailed_log(settings: Settings) -> Iterator[logging.Logger]:
    """AdminEmailHandler on the root logger, for everything."""
    settings.ADMINS, settings.DEBUG = ADMINS, False
    root, handler = logging.getLogger(), AdminEmailHandler()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    logging.getLogger("django.tasks").setLevel(logging.DEBUG)
    try:
        yield root
    finally:
        logging.getLogger("django.tasks").setLevel(logging.NOTSET)
        root.setLevel(level)
        root.removeHandler(handler)


@pytest.fixture(autouse=True)
def _not_paused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "_paused_until", [0.0])


@pytest.mark.django_db
def test_a_mail_job_that_fails_here_makes_no_other(background_mail: None, mailed_log: Any) -> None:
    with mail_server(mail_answer="550 no") as server, sending_to(server):
        send_mail("Hello", "Text", "me@example.com", ["you@example.com"])
        [job] = testing.run_jobs()
    assert job.state == State.FAILED
    assert Job.objects.count() == 1


@pytest.mark.django_db
def test_what_is_logged_about_a_mail_that_is_enqueued_is_delivered_at_once(
    background_mail: None, mailed_log: Any
) -> None:
    """The tasks API logs that it was enqueued: that is mail, and would be logged again."""
    assert send_mail("Hello", "Text", "me@example.com", ["you@example.com"]) == 1
    assert Job.objects.count() == 1
    assert any("enqueued" in message.subject for message in outbox())


@pytest.mark.django_db
@override_settings(ADMINS=ADMINS)
def test_a_mail_that_cannot_be_enqueued_makes_no_other(
    background_mail: None, mailed_log: Any, settings: Settings
) -> None:
    entry = {**settings.TASKS["default"], "OPTIONS": {"max_depth": 0}}
    settings.TASKS = {**settings.TASKS, "default": entry}
    backend = BackgroundEmailBackend(fail_silently=True)
    assert backend.send_messages([EmailMessage("Hello", to=["you@example.com"])]) == 0
    assert not Job.objects.exists()


@pytest.mark.django_db
def test_receivers_that_mail_about_failed_jobs_make_one_job_for_each_task(
    background_mail: None,
) -> None:
    paths: list[str] = []

    def tell(task_result: Any, **kwargs: Any) -> None:
        paths.append(task_result.task.module_path)
        send_mail("It failed", str(task_result.id), "me@example.com", ["you@example.com"])

    api_signals.task_finished.connect(tell)
    job_retrying.connect(tell)
    try:
        with mail_server(mail_answer="550 no") as server, sending_to(server):
            fail.enqueue("the reason")
            while testing.run_jobs():
                pass
    finally:
        api_signals.task_finished.disconnect(tell)
        job_retrying.disconnect(tell)
    assert paths == [fail.module_path, deliver_email.module_path]
    assert Job.objects.count() == 2


@task
def warns_and_fails() -> None:
    """Tells the administrators, and fails."""
    mail_admins("Look", "it fails")
    raise ValueError("no")


@pytest.mark.django_db
@override_settings(ADMINS=ADMINS)
def test_a_task_that_mails_and_fails_is_mailed_twice_and_no_more(background_mail: None) -> None:
    """Once by itself, and once by Django's log, below which is that of tasks since Django 6.0."""
    mails = 2 if VERSION >= (6, 0) else 1
    warns_and_fails.enqueue()
    while testing.run_jobs():
        pass
    states = sorted(Job.objects.values_list("state", flat=True))
    assert states == [State.FAILED, *[State.SUCCEEDED] * mails]
    assert [message.to for message in outbox()] == [[ADMIN]] * mails


@pytest.mark.django_db
def test_who_cannot_deliver_about_a_mail_job_says_so_once(
    background_mail: None, mailed_log: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    with mail_server(mail_answer="550 no") as server, sending_to(server):
        for _ in range(5):
            send_mail("Hello", "Text", "me@example.com", ["you@example.com"])
        testing.run_jobs()
        # What is logged after a refusal is not tried.
        assert server.senders <= 5 + 1
    records = [record for record in caplog.records if "was not sent" in record.getMessage()]
    assert len(records) == 1
    assert Job.objects.count() == 5


@override_settings(BGTASKS_EMAIL_BACKEND=BACKGROUND)
def test_a_wrong_setting_of_the_site_is_no_error_of_the_log(caplog: Any) -> None:
    message = EmailMessage("Hello", to=["you@example.com"])
    assert direct.deliver_directly([message], None) == 0
    assert "BGTASKS_EMAIL_BACKEND" in caplog.text


def test_a_task_that_is_interrupted_while_its_log_is_mailed_is_interrupted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Slow(BaseEmailBackend):
        def send_messages(self, messages: Any) -> int:
            raise JobTimeout("too long")

    monkeypatch.setattr(direct, "delivering_backend", lambda mailer: Slow())
    with pytest.raises(JobTimeout):
        direct.deliver_directly([EmailMessage("Hello", to=["you@example.com"])], None)
    monkeypatch.undo()
    # And the next one is delivered.
    with mail_server() as server, sending_to(server):
        mailer = "real" if HAS_MAILERS else None
        assert direct.deliver_directly([EmailMessage("Hi", to=["you@example.com"])], mailer) == 1
