"""Email in the background: what a site sends arrives, whole, once its transaction commits."""

from __future__ import annotations

import contextlib
import email
import enum
import re
from email import policy
from email.mime.base import MIMEBase
from typing import Any

import django
import pytest
from django.core import mail
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMessage, EmailMultiAlternatives, send_mail
from django.db import transaction
from django.test import override_settings
from django.utils.translation import gettext_lazy

from django_bgtasks import JobTimeout, QueueFull, testing
from django_bgtasks.core.states import State
from django_bgtasks.mail import BackgroundEmailBackend, deliver_email
from django_bgtasks.models import Blob, Job

from .mailing import HAS_MAILERS, outbox, send

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("background_mail")]


def test_send_mail_makes_a_job_and_sends_nothing_itself() -> None:
    assert send_mail("Hello", "Text", "me@example.com", ["you@example.com"]) == 1
    assert outbox() == []
    job = testing.assert_enqueued(deliver_email)
    assert (job.queue, job.max_attempts) == ("default", 8)


def test_the_job_delivers_it_and_says_how_many_were_sent() -> None:
    send_mail("Hello", "Text", "me@example.com", ["you@example.com"], html_message="<p>Text</p>")
    [job] = testing.run_jobs()
    [sent] = outbox()
    assert job.result == 1
    assert (sent.subject, sent.body, sent.to) == ("Hello", "Text", ["you@example.com"])
    assert [tuple(each) for each in sent.alternatives] == [("<p>Text</p>", "text/html")]


def test_a_message_rolled_back_with_its_view_is_never_sent() -> None:
    with contextlib.suppress(ZeroDivisionError), transaction.atomic():
        send_mail("Hello", "x" * 300_000, "me@example.com", ["you@example.com"])
        raise ZeroDivisionError
    assert not Job.objects.exists()
    assert not Blob.objects.exists()


def test_everything_of_a_message_arrives() -> None:
    message = EmailMultiAlternatives(
        subject=gettext_lazy("Grüße"),
        body="Text with ünicode",
        from_email="Me <me@example.com>",
        to=["to@example.com"],
        cc=["cc@example.com"],
        bcc=["bcc@example.com"],
        reply_to=["reply@example.com"],
        headers={"X-Tag": "a", "List-Unsubscribe": "<https://example.com/>"},
        alternatives=[("<b>ü</b>", "text/html")],
    )
    message.encoding = "iso-8859-1"
    message.attach("notes.txt", "line\n", "text/plain")
    message.attach("data.bin", bytes(range(256)), "application/octet-stream")
    message.attach(
        "inner.eml", EmailMessage("Inner", "body", to=["x@example.com"]), "message/rfc822"
    )
    sent = send(message)
    assert type(sent) is EmailMultiAlternatives
    for name in ("subject", "body", "from_email", "to", "cc", "bcc", "reply_to", "encoding"):
        assert getattr(sent, name) == getattr(message, name)
    assert sent.extra_headers.items() >= message.extra_headers.items()
    assert parts_of(sent) == parts_of(message)
    assert set(sent.recipients()) == {"to@example.com", "cc@example.com", "bcc@example.com"}


def test_an_html_only_message_stays_html() -> None:
    message = EmailMessage("Hello", "<p>Text</p>", "me@example.com", ["you@example.com"])
    message.content_subtype = "html"
    assert send(message).message().get_content_type() == "text/html"


@pytest.mark.filterwarnings("ignore:MIMEBase attachments are deprecated")
def test_a_legacy_mime_part_arrives() -> None:
    part = MIMEBase("image", "png")
    part.set_payload(b"picture")
    part.add_header("Content-ID", "<logo>")
    message = EmailMessage("Hello", "Text", to=["you@example.com"], attachments=[part])
    [attached] = send(message).attachments
    assert isinstance(attached, MIMEBase)
    assert attached.as_bytes() == part.as_bytes()


@pytest.mark.skipif(django.VERSION < (6, 0), reason="Django 6.0 takes parts of the modern API")
def test_a_modern_mime_part_arrives() -> None:
    part: Any = email.message.MIMEPart()
    part.set_content(b"picture", "image", "png", disposition="inline", cid="<logo>")
    message = EmailMessage("Hello", "Text", to=["you@example.com"], attachments=[part])
    [attached] = send(message).attachments
    assert attached.as_bytes() == part.as_bytes()
    assert send(message).message().as_bytes().count(b"<logo>") == 1


def test_a_large_message_waits_in_a_blob_that_is_gone_once_it_is_delivered() -> None:
    message = EmailMessage("Hello", "Text", to=["you@example.com"])
    message.attach("photo.jpg", bytes(range(256)) * 2000, "image/jpeg")
    message.send()
    job = testing.assert_enqueued(deliver_email)
    assert job.kwargs["blob"] == str(Blob.objects.get().pk)
    assert "message" not in job.kwargs
    testing.run_jobs()
    assert outbox()[-1].attachments[0].content == bytes(range(256)) * 2000
    assert not Blob.objects.exists()


def test_a_blob_that_is_gone_fails_the_job_for_good() -> None:
    send_mail("Hello", "x" * 300_000, "me@example.com", ["you@example.com"])
    Blob.objects.all().delete()
    [job] = testing.run_jobs()
    assert job.state == State.FAILED
    assert "is gone" in job.error


def test_text_that_a_json_column_refuses_arrives_all_the_same() -> None:
    sent = send(EmailMessage("Hello", "a\0b", "me@example.com", ["you@example.com"]))
    assert sent.body == "a\0b"


def test_every_attempt_has_the_same_message_id_and_date() -> None:
    send_mail("Hello", "Text", "me@example.com", ["you@example.com"])
    stored = testing.assert_enqueued(deliver_email).kwargs["message"]["extra_headers"]
    testing.run_jobs()
    first, second = outbox()[-1].message(), outbox()[-1].message()
    assert first["Message-ID"] == second["Message-ID"] == stored["Message-ID"]
    assert first["Date"] == second["Date"] == stored["Date"]


def test_a_message_sent_twice_has_two_message_ids() -> None:
    message = EmailMessage("Hello", "Text", "me@example.com", ["you@example.com"])
    first, second = send(message), send(message)
    assert first.extra_headers["Message-ID"] != second.extra_headers["Message-ID"]
    assert message.extra_headers == {}


def test_a_given_message_id_is_kept() -> None:
    headers = {"message-id": "<mine@example.com>"}
    sent = send(EmailMessage("Hello", "Text", to=["you@example.com"], headers=headers))
    assert sent.message().get_all("Message-ID") == ["<mine@example.com>"]


@pytest.mark.parametrize(
    "fields",
    [
        {"subject": "Hello\nBcc: victim@example.com"},
        {"to": ["you@example.com\nBcc: victim@example.com"]},
        {"bcc": ["you@example.com\r\nRCPT TO: <victim@example.com>"]},
        {"from_email": "me@example.com\nX-Evil: 1"},
    ],
)
def test_a_header_with_a_newline_is_refused_by_send_mail_itself(fields: dict[str, Any]) -> None:
    message = EmailMessage(**{"to": ["you@example.com"], **fields})
    with pytest.raises(ValueError, match=r"newline|linefeed"):
        message.send()
    assert not Job.objects.exists()


def test_a_message_to_nobody_is_no_job() -> None:
    backend = mail.mailers.default if HAS_MAILERS else mail.get_connection()  # type: ignore[attr-defined, unused-ignore]
    assert backend.send_messages([EmailMessage("Hello", "Text")]) == 0
    assert not Job.objects.exists()


def test_many_messages_are_inserted_together(django_assert_max_num_queries: Any) -> None:
    backend = BackgroundEmailBackend()
    messages = [EmailMessage("Hello", "Text", to=[f"{n}@example.com"]) for n in range(50)]
    # Django 5.2 splits them in two on SQLite, for its parameters are limited.
    with django_assert_max_num_queries(6):
        assert backend.send_messages(messages) == 50
    assert Job.objects.count() == 50


@override_settings(BGTASKS_EMAIL_QUEUE="emails")
def test_the_queue_is_a_setting() -> None:
    send_mail("Hello", "Text", "me@example.com", ["you@example.com"])
    assert testing.assert_enqueued(deliver_email).queue == "emails"


def full(settings: Any) -> None:
    entry = {**settings.TASKS["default"], "OPTIONS": {"max_depth": 0}}
    settings.TASKS = {**settings.TASKS, "default": entry}


def test_a_full_queue_is_the_senders_to_know(settings: Any) -> None:
    full(settings)
    with pytest.raises(QueueFull):
        send_mail("Hello", "Text", "me@example.com", ["you@example.com"])


def test_with_fail_silently_it_is_logged_and_nothing_is_sent(settings: Any, caplog: Any) -> None:
    full(settings)
    backend = BackgroundEmailBackend(fail_silently=True)
    assert backend.send_messages([EmailMessage("Hello", "Text", to=["you@example.com"])]) == 0
    assert "1 emails could not be enqueued" in caplog.text


def test_with_fail_silently_a_task_is_interrupted_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(*args: Any) -> int:
        raise JobTimeout("too long")

    monkeypatch.setattr(BackgroundEmailBackend, "_enqueue", interrupt)
    with pytest.raises(JobTimeout):
        BackgroundEmailBackend(fail_silently=True).send_messages([EmailMessage(to=["a@x.org"])])


def test_credentials_are_refused_for_a_job_must_not_keep_them() -> None:
    with pytest.raises(ImproperlyConfigured, match="credentials"):
        BackgroundEmailBackend(username="me", password="secret")


class Signed(EmailMessage):
    """A site's own class of messages, which builds itself in its own way."""

    signature = ""

    def message(self, **kwargs: Any) -> Any:
        built = super().message(**kwargs)
        built["X-Signature"] = self.signature
        return built


def test_a_sites_own_class_of_messages_is_itself_at_its_delivery() -> None:
    message = Signed("Hello", "Text", to=["you@example.com"])
    message.signature = "mine"
    sent = send(message)
    assert type(sent) is Signed
    assert sent.message()["X-Signature"] == "mine"


class Color(enum.Enum):
    """Neither a text nor a number."""

    RED = "red"


@pytest.mark.parametrize("fail_silently", [False, True])
@pytest.mark.parametrize(
    "value",
    [print, object(), Color.RED, iter("a"), Job()],
    # Their own texts have an address in memory.
    ids=lambda value: type(value).__name__,
)
def test_an_attribute_that_cannot_be_stored_is_refused_by_its_name(
    value: object, fail_silently: bool
) -> None:
    message: Any = EmailMessage("Hello", "Text", to=["you@example.com"])
    message.merge_data = {"you@example.com": {"total": [1, value]}}
    name = re.escape("merge_data['you@example.com']['total'][1]")
    backend = BackgroundEmailBackend(fail_silently=fail_silently)
    with pytest.raises(TypeError, match=f"{name}: a value of type {type(value).__qualname__}"):
        backend.send_messages([message])
    assert not Job.objects.exists()


def test_a_class_may_leave_attributes_out() -> None:
    message = Stamped("Hello", "Text", to=["you@example.com"])
    message.stamp = print
    assert send(message).stamp is len


class Stamped(EmailMessage):
    """It has an attribute that is in no message that is stored."""

    stamp: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "stamp"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, stamp=len)


def test_a_class_that_cannot_be_imported_is_refused_by_its_sender() -> None:
    class Local(EmailMessage):
        pass

    with pytest.raises(TypeError, match="top level"):
        Local("Hello", "Text", to=["you@example.com"]).send()


def parts_of(message: EmailMessage) -> list[tuple[str, str | None, bytes | None]]:
    """Type, file name and content of each part, as a mail program reads them."""
    parsed = email.message_from_bytes(message.message().as_bytes(), policy=policy.default)
    return [
        (part.get_content_type(), part.get_filename(), part.get_payload(decode=True))  # type: ignore[misc]
        for part in parsed.walk()
    ]
