"""`bgdoctor` looks at the real servers and says what to fix."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO

import pytest
import redis
from django.core.management import call_command
from pytest_django import Settings

from django_bgtasks.core import clock
from django_bgtasks.jobs.actions import pause_queue
from django_bgtasks.ledger.times import Now
from django_bgtasks.models import Job, Worker
from testproject.servers import RedisServer
from tests.app.tasks import add

from .rows import make_schedule

pytestmark = pytest.mark.django_db(transaction=True)


def doctor() -> tuple[str, int]:
    """What bgdoctor prints, and its exit code."""
    out = StringIO()
    try:
        call_command("bgdoctor", stdout=out, no_color=True)
    except SystemExit as leaving:
        return out.getvalue(), int(str(leaving.code))
    return out.getvalue(), 0


def alive() -> None:
    """Write the row of a worker that has just been heard of."""
    Worker.objects.create(
        id=Job().id, hostname="h", pid=1, processes=1, backend="default",
        started_at=Now(), last_seen_at=Now(),
    )  # fmt: skip


def test_a_deployment_with_a_worker_is_well(redis_client: redis.Redis) -> None:
    alive()
    text, code = doctor()
    assert code == 0
    assert "1 worker is alive." in text
    assert "Redis evicts nothing" in text


def test_no_worker_is_a_serious_finding_with_the_command_that_cures_it(
    redis_client: redis.Redis,
) -> None:
    text, code = doctor()
    assert code == 1
    assert "No worker is running." in text
    assert "python manage.py bgworker" in text


def test_a_redis_without_a_password_is_mentioned_but_not_serious(
    redis_client: redis.Redis,
) -> None:
    alive()
    text, code = doctor()
    assert "Redis has no password." in text
    assert code == 0


def test_a_redis_that_evicts_is_told_how_not_to(own_redis: RedisServer) -> None:
    with redis.Redis.from_url(own_redis.url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    text, _ = doctor()
    assert "allkeys-lru" in text
    assert "CONFIG SET maxmemory-policy noeviction" in text


def test_a_wrong_password_is_named_with_its_cure(
    own_redis: RedisServer, settings: Settings
) -> None:
    with redis.Redis.from_url(own_redis.url) as client:
        client.config_set("requirepass", "right")
    text, code = doctor()
    assert code == 1
    assert "Check the password in CACHES" in text


def test_jobs_that_nobody_serves_are_named(redis_client: redis.Redis) -> None:
    alive()
    add.enqueue(1, 2)
    Job.objects.update(enqueued_at="2020-01-01T00:00Z")
    text, _ = doctor()
    assert "No worker serves the queue default, and jobs wait in it." in text
    assert "python manage.py bgworker default" in text


def test_advice_on_the_settings_is_a_line_and_no_fault(
    redis_client: redis.Redis, settings: Settings
) -> None:
    alive()
    assert "docs/security.md" not in doctor()[0]
    cache = settings.CACHES["default"]
    settings.CACHES = {"default": {**cache, "OPTIONS": {}}}
    text, code = doctor()
    [line] = [line for line in text.splitlines() if "docs/security.md" in line]
    assert line.startswith("info  Jobs go through the Redis of the cache default, which pickles")
    assert code == 0


def test_what_the_dashboard_warns_of_is_a_finding_too(redis_client: redis.Redis) -> None:
    alive()
    pause_queue("emails")
    text, code = doctor()
    assert code == 0
    assert "The queue emails is paused; 0 jobs wait in it." in text
    assert "python manage.py bgresume emails" in text


def test_schedules_that_fire_nothing_are_named_with_their_cure(redis_client: redis.Redis) -> None:
    alive()
    make_schedule(name="gone", task="shop.removed.task")
    make_schedule(name="old", source="code")
    make_schedule(name="once", next_at=None)
    make_schedule(name="behind", next_at=clock.now() - timedelta(hours=2))
    make_schedule(name="well")
    text, code = doctor()
    text = " ".join(text.split())
    assert code == 0
    assert "fires nothing, for its task cannot be imported: gone. Bring the task back" in text
    assert "fires nothing, for the code does not declare it: old. Delete it" in text
    assert "never fires again, for no tick is left: once. Give it another time" in text
    assert "1 schedule is late, by 2 h" in text
    assert "well" not in text
