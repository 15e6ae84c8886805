"""Redis away: the site still answers, and the row stands."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator

import pytest
from django.db import transaction
from pytest_django import Settings

from django_bgtasks.models import Job
from testproject.servers.processes import free_port
from tests.app.tasks import add

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def redis_at(settings: Settings) -> Callable[[int], None]:
    """Say where Redis is."""

    def at(port: int) -> None:
        url = f"redis://127.0.0.1:{port}/0"
        settings.CACHES = {"default": {**settings.CACHES["default"], "LOCATION": url}}

    return at


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """Something that takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        yield listener.getsockname()[1]


def seconds_to_enqueue(count: int = 1) -> float:
    start = time.monotonic()
    for _ in range(count):
        add.enqueue(1, 2)
    return time.monotonic() - start


def test_a_redis_that_is_not_there_costs_a_view_next_to_nothing(
    redis_at: Callable[[int], None], caplog: pytest.LogCaptureFixture
) -> None:
    redis_at(port := free_port())
    # A wait of a quarter of a second for each would be seen, also where others use the machine.
    assert seconds_to_enqueue(20) < 5
    assert [job.state for job in Job.objects.all()] == ["queued"] * 20
    [warning] = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert f"Redis at 127.0.0.1:{port}/0 is away" in warning
    assert "The job is stored" in warning


def test_a_redis_that_does_not_answer_costs_one_view_a_second_and_the_next_nothing(
    redis_at: Callable[[int], None], deaf_port: int
) -> None:
    redis_at(deaf_port)
    assert seconds_to_enqueue(20) < 3
    assert Job.objects.count() == 20


def test_settings_by_which_nothing_can_be_sent_are_logged_and_the_row_stands(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.CACHES = {}
    backend = settings.TASKS["default"]
    settings.TASKS = {"default": {**backend, "OPTIONS": {"redis_url": "nowhere"}}}
    with transaction.atomic():
        add.enqueue(1, 2)
    add.enqueue(3, 4)
    assert [job.state for job in Job.objects.all()] == ["queued"] * 2
    assert "is not an address of Redis" in caplog.text


def test_what_else_waits_for_the_commit_happens_all_the_same(
    redis_at: Callable[[int], None],
) -> None:
    redis_at(free_port())
    happened = []
    with transaction.atomic():
        add.enqueue(1, 2)
        transaction.on_commit(lambda: happened.append(1))
    assert happened == [1]
