"""Mail for a provider, whose features are attributes of the message, through Anymail."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from django.core.mail import EmailMessage, EmailMultiAlternatives
from django.db import models
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy

from django_bgtasks import testing
from django_bgtasks.core.states import State

pytest.importorskip("anymail", reason="needs django-anymail")

from anymail.message import AnymailMessage

from .mailing import outbox, sending_with

pytestmark = pytest.mark.django_db
TO = "you@example.com"


class Plan(models.TextChoices):
    """What a customer has."""

    PRO = "pro"


ATTRIBUTES: dict[str, Any] = {
    "esp_extra": {"ip_pool": "main", "nested": {"options": [1, 2.5, True, None]}},
    "envelope_sender": "bounces@example.com",
    "metadata": {"order": 7, "total": Decimal("20.10"), "id": UUID(int=7)},
    "tags": ["welcome", "first"],
    "track_clicks": True,
    "track_opens": False,
    "template_id": "t-17",
    "merge_data": {
        TO: {"total": Decimal("20.10"), "due": date(2026, 11, 28), "plan": Plan.PRO},
        "other@example.com": {},
    },
    "merge_global_data": {
        "at": time(12, 30),
        "for": timedelta(days=-1, microseconds=1),
        "name": gettext_lazy("Grüße"),
        "html": mark_safe("<b>"),
    },
    "merge_metadata": {TO: {"n": 1}},
    "merge_headers": {TO: {"List-Unsubscribe": "<https://example.com/>"}},
}
TIMES = [
    datetime(2026, 11, 28, 12, 30, 15, 250000, tzinfo=UTC),
    datetime(2026, 7, 1, 12, 30, tzinfo=ZoneInfo("Europe/Berlin")),
    datetime(2026, 11, 28, 12, 30, tzinfo=timezone(timedelta(hours=-3, minutes=-30))),
    datetime(2026, 11, 28, 12, 30),  # noqa: DTZ001 - a site may do so
    date(2026, 12, 24),
    1_900_000_000,
    1_900_000_000.5,
]


@pytest.fixture(autouse=True)
def background() -> Any:
    """Mail goes through a job, and that delivers with Anymail's backend for tests."""
    with testing.without_redis(), sending_with("anymail.backends.test.EmailBackend"):
        yield


def directly(message: EmailMessage) -> dict[str, Any]:
    """What Anymail makes of a message without a job."""
    from anymail.backends.test import EmailBackend

    assert EmailBackend().send_messages([message]) == 1
    return parameters()


def parameters() -> dict[str, Any]:
    found: dict[str, Any] = dict(outbox()[-1].anymail_test_params)
    # They are made for a job, so that each attempt has the same.
    headers = {
        n: v for n, v in found.pop("extra_headers", {}).items() if n not in ("Message-ID", "Date")
    }
    return {**found, "extra_headers": headers}


def by_a_job(message: EmailMessage) -> dict[str, Any]:
    assert message.send() == 1
    [job] = testing.run_jobs()
    assert job.state == State.SUCCEEDED, job.error
    return parameters()


@pytest.mark.parametrize("cls", [EmailMessage, EmailMultiAlternatives, AnymailMessage])
@pytest.mark.parametrize("name", ATTRIBUTES)
def test_each_of_its_attributes_reaches_the_provider(name: str, cls: Any) -> None:
    def message() -> Any:
        made = cls("Hello", "Text", "me@example.com", [TO])
        setattr(made, name, ATTRIBUTES[name])
        return made

    expected = directly(message())
    found = by_a_job(message())
    assert found == expected
    assert type(outbox()[-1]) is cls
    assert "UNSET" not in json.dumps(found, default=repr)


@pytest.mark.parametrize("when", TIMES, ids=str)
def test_it_is_sent_when_it_is_asked_to_be(when: Any) -> None:
    def message() -> Any:
        made: Any = EmailMessage("Hello", "Text", "me@example.com", [TO])
        made.send_at = when
        return made

    expected = directly(message())["send_at"]
    found = by_a_job(message())["send_at"]
    assert (type(found), found) == (type(expected), expected)
    assert type(outbox()[-1].send_at) is type(when)


def test_values_keep_their_types() -> None:
    """The provider's payload of an amount must not become that of a text."""
    message: Any = AnymailMessage("Hello", "Text", to=[TO])
    values = {
        "decimal": Decimal("1E+3"),
        "set": {1, 2},
        "tuple": (1, (2, 3)),
        "bytes": b"\0",
        "date": date.min,
        "datetime": datetime.max.replace(tzinfo=UTC),
        "keys": {1: "a", None: "b"},
        "$": {"$": "tag"},
        "uuid": UUID(int=1),
    }
    message.merge_global_data = values
    by_a_job(message)
    assert outbox()[-1].merge_global_data == values


@pytest.mark.parametrize(
    ("status", "state"),
    [(400, State.FAILED), (422, State.FAILED), (429, State.SCHEDULED), (503, State.SCHEDULED)],
)
def test_what_the_provider_refuses_for_good_is_not_tried_again(
    status: int, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    import requests
    from anymail.backends.test import EmailBackend
    from anymail.exceptions import AnymailRequestsAPIError

    def refuse(*args: Any) -> None:
        response = requests.Response()
        response.status_code = status
        raise AnymailRequestsAPIError("no", response=response, backend=EmailBackend())

    monkeypatch.setattr(EmailBackend, "post_to_esp", refuse)
    EmailMessage("Hello", "Text", to=[TO]).send()
    [job] = testing.run_jobs()
    assert (job.state, job.attempt) == (state, 1)


def test_a_message_that_was_sent_may_be_sent_again() -> None:
    message: Any = AnymailMessage("Hello", "Text", to=[TO])
    directly(message)
    assert message.anymail_status.status == {"sent"}
    del message.anymail_test_params
    by_a_job(message)
    assert outbox()[-1].anymail_status.status == {"sent"}
