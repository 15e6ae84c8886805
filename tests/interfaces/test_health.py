"""`healthz` and `readyz`: what a monitoring system is told, with real workers and servers."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client
from pytest_django import Settings

from django_bgtasks.core import clock
from django_bgtasks.models import Worker
from testproject.servers import RedisServer
from tests.waiting import wait_until
from tests.workers import WorkerFactory

from .rows import make_job, make_worker

pytestmark = pytest.mark.django_db(transaction=True)
TOKEN = "only-machines-know-this-one"


@pytest.fixture
def ask(settings: Settings) -> Any:
    """`ask("healthz")` is the status of the answer and what it says about our backend."""
    entry = settings.TASKS["default"]
    options = {**entry["OPTIONS"], "monitoring_token": TOKEN}
    settings.TASKS = {"default": {**entry, "OPTIONS": options}}
    client = Client(headers={"Authorization": f"Bearer {TOKEN}"})

    def get(name: str) -> tuple[int, list[str]]:
        response = client.get(f"/jobs/{name}")
        return response.status_code, response.json()["backends"]["default"]

    return get


def test_it_is_healthy_while_a_worker_lives(ask: Any, bgworker: WorkerFactory) -> None:
    assert ask("healthz") == (503, ["No worker is running. Start one: python manage.py bgworker"])
    worker = bgworker()
    wait_until(lambda: ask("healthz") == (200, []))
    worker.stop()
    assert ask("healthz")[0] == 503
    # As after a loss of power: the row says that it runs, and nobody hears of it.
    Worker.objects.update(stopped_at=None, last_seen_at=clock.now() - timedelta(minutes=1))
    assert ask("healthz")[0] == 503


def test_it_is_not_healthy_when_maintenance_stands_still(ask: Any) -> None:
    make_worker()
    due = clock.now() - timedelta(seconds=20)
    job = make_job("scheduled", run_after=due)
    assert ask("healthz") == (200, [])
    job.run_after = due - timedelta(minutes=1)
    job.save()
    status, [problem] = ask("healthz")
    assert status == 503
    assert problem.startswith("1 scheduled job is overdue, by 1 min ")


def test_it_asks_three_statements_and_no_redis(
    ask: Any, django_assert_num_queries: Any, own_redis: RedisServer
) -> None:
    make_worker()
    own_redis.kill()
    with django_assert_num_queries(3):
        assert ask("healthz") == (200, [])


def test_it_is_ready_when_the_tables_and_redis_are_there(ask: Any, own_redis: RedisServer) -> None:
    assert ask("readyz") == (200, [])
    own_redis.kill()
    status, [problem] = ask("readyz")
    assert status == 503
    assert problem.startswith("Redis at ")
    assert ask("readyz?without=redis") == (200, [])
    last = MigrationRecorder.Migration.objects.filter(app="django_bgtasks").latest("pk")
    last.delete()
    try:
        status, [problem] = ask("readyz?without=redis")
    finally:
        last.save(force_insert=True)
    assert status == 503
    assert last.name in problem


def test_a_database_that_is_away_is_told(ask: Any) -> None:
    def refuse(*args: Any) -> Any:
        raise OperationalError("the server is gone")

    with connection.execute_wrapper(refuse):
        for name in ("healthz", "readyz"):
            status, [problem] = ask(name)
            assert status == 503
            assert problem.startswith("The database does not answer: the server is gone")
