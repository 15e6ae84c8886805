"""The metrics as Prometheus itself reads them."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from pytest_django import Settings

from django_bgtasks.contrib import prometheus
from django_bgtasks.core import clock
from django_bgtasks.jobs.actions import pause_queue
from django_bgtasks.models import Seat
from django_bgtasks.monitoring import limits
from django_bgtasks.monitoring.histogram import BOUNDS
from django_bgtasks.testing import without_redis
from django_bgtasks.worker.maintenance import rollups
from tests.interfaces.rows import make_job, make_worker

pytestmark = pytest.mark.django_db(transaction=True)
TOKEN = "only-machines-know-this-one"
TASK = 'shop."tasks\\\n# TYPE forged counter\nforged 1'


@pytest.fixture
def client(settings: Settings) -> Client:
    """Prometheus, with the token."""
    entry = settings.TASKS["default"]
    options = {**entry["OPTIONS"], "monitoring_token": TOKEN}
    settings.TASKS = {"default": {**entry, "OPTIONS": options}}
    return Client(headers={"Authorization": f"Bearer {TOKEN}"})


def scrape(client: Client) -> dict[Any, float]:
    """The value of each series: its name, then its labels in the order of their names."""
    response = client.get("/jobs/metrics")
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/plain; version=")
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(response.content.decode())
        for sample in family.samples
    }


def test_a_scrape_tells_what_waits_runs_ended_and_works(
    client: Client, redis_client: object
) -> None:
    for _ in range(3):
        make_job("queued", queue="emails")
    make_job("running", queue="emails")
    make_job("scheduled", run_after=clock.now() - timedelta(minutes=2))
    for state in ("succeeded", "succeeded", "failed", "cancelled"):
        make_job(state, queue="emails", task=TASK, attempt=1)
    make_worker()
    make_worker(lost_at=clock.now())
    pause_queue("reports", by="root")
    rollups.run_once("default")
    found = scrape(client)
    assert found["bgtasks_queue_jobs", "default", "emails", "queued"] == 3
    assert found["bgtasks_queue_jobs", "default", "emails", "running"] == 1
    assert found["bgtasks_queue_jobs", "default", "reports", "queued"] == 0
    assert found["bgtasks_queue_oldest_seconds", "default", "emails"] == pytest.approx(300, abs=60)
    assert found["bgtasks_queue_paused", "default", "reports"] == 1
    assert [found["bgtasks_workers", "default", name] for name in prometheus.HEALTH] == [1, 0, 1]
    assert found["bgtasks_maintenance_beat_seconds", "default"] < 60
    assert found["bgtasks_maintenance_overdue_jobs", "default"] == 1
    assert found["bgtasks_maintenance_orphaned_jobs", "default"] == 1
    assert found["bgtasks_redis_up", "default"] == 1
    pair = ("emails", TASK)
    ended = [
        found["bgtasks_jobs_ended_total", "default", name, *pair]
        for name in prometheus.ENDED_STATES
    ]
    assert ended == [2, 1, 1]
    # Each ran for 3 seconds, after it had waited for 5 minutes without these.
    runs = [
        found["bgtasks_job_run_seconds_bucket", "default", str(float(b)), *pair] for b in BOUNDS
    ]
    assert runs == [4.0 if bound >= 5 else 0.0 for bound in BOUNDS]
    assert found["bgtasks_job_run_seconds_count", "default", *pair] == 4
    assert found["bgtasks_job_run_seconds_sum", "default", *pair] == pytest.approx(12, abs=0.5)
    assert found["bgtasks_job_wait_seconds_bucket", "default", "+Inf", *pair] == 4
    assert not [series for series in found if series[0] == "forged"]


def test_many_tasks_make_no_more_series_than_prometheus_can_bear(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prometheus, "MOST_PAIRS", 3)
    for number in range(6):
        make_job("succeeded", task=f"t{number}", attempt=1)
    rollups.run_once("default")
    with without_redis():
        found = scrape(client)
    ended = {
        key[4]: value
        for key, value in found.items()
        if key[0] == "bgtasks_jobs_ended_total" and key[2] == "succeeded"
    }
    assert len(ended) == 4
    assert ended[prometheus.OTHERS] == 3


def limited(key: str, *, waiting: int = 0, held: int = 0, minutes: int = 1) -> None:
    since = clock.now() - timedelta(minutes=minutes)
    for _ in range(waiting):
        make_job("blocked", lane=key, lane_mode="wait", waits_for="lane", enqueued_at=since)
    for place in range(1, held + 1):
        make_job("queued", lane=key, lane_mode="wait", place=place)


def test_places_are_told_by_the_prefixes_of_their_keys(client: Client) -> None:
    limited("stripe:7", waiting=2, held=3, minutes=10)
    limited("stripe:8", waiting=1, held=1)
    limited("plain", held=1)
    with without_redis():
        found = scrape(client)
    assert [found[f"bgtasks_limit_{name}", "stripe"] for name in ("held", "waiting")] == [4, 3]
    assert found["bgtasks_limit_oldest_seconds", "stripe"] == pytest.approx(600, abs=60)
    assert [
        found[f"bgtasks_limit_{name}", "plain"] for name in ("held", "waiting", "oldest_seconds")
    ] == [1, 0, 0]


def test_a_key_without_a_word_before_its_colon_is_not_counted_as_the_others(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PREFIXES", 2)
    limited(":7", waiting=3)
    for number, user in enumerate(("a", "b", "c")):
        limited(user, waiting=number + 1)
    with without_redis():
        found = scrape(client)
    waiting = {key[1]: number for key, number in found.items() if key[0] == "bgtasks_limit_waiting"}
    assert waiting == {"": 3, "c": 3, prometheus.OTHERS: 3}


def test_starts_are_told_by_the_prefixes_of_their_rates(client: Client) -> None:
    now = clock.now()
    for number in range(1, 4):
        Seat.objects.create(rate="sms:fr", number=number, free_at=now + timedelta(minutes=number))
    for country in ("fr", "de"):
        make_job("blocked", rate=f"sms:{country}", waits_for="rate", starts=3, per=60.0)
    with without_redis():
        found = scrape(client)
    assert [found[f"bgtasks_rate_{name}", "sms"] for name in ("started", "waiting")] == [3, 2]
    assert found["bgtasks_rate_next_seconds", "sms"] == pytest.approx(60, abs=15)
    assert found["bgtasks_rate_oldest_seconds", "sms"] >= 0


def test_a_key_for_each_user_makes_no_more_series_than_prometheus_can_bear(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PREFIXES", 3)
    for user in range(6):
        limited(f"user{user}", waiting=6 - user, held=1)
    with without_redis():
        found = scrape(client)
    waiting = {key[1]: number for key, number in found.items() if key[0] == "bgtasks_limit_waiting"}
    assert waiting == {"user0": 6, "user1": 5, "user2": 4, prometheus.OTHERS: 6}


def test_a_scrape_of_a_site_without_limits_pays_one_look_for_them(
    monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any, db: None
) -> None:
    for make in (prometheus._limits, prometheus._rates):
        with django_assert_num_queries(1):
            families = list(make(is_any_waiting=False))
        assert not any(family.samples for family in families)


def test_a_site_adds_them_to_its_own_and_registering_asks_no_database(
    django_assert_num_queries: Any, redis_client: object
) -> None:
    registry = CollectorRegistry(auto_describe=True)
    with django_assert_num_queries(0):
        registry.register(prometheus.BgTasksCollector())
    assert (
        registry.get_sample_value("bgtasks_workers", {"backend": "default", "health": "alive"}) == 0
    )


def test_without_the_library_it_says_what_to_install(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [])
    for name in [name for name in sys.modules if name.split(".")[0] == "prometheus_client"]:
        monkeypatch.delitem(sys.modules, name)
    response = client.get("/jobs/metrics")
    assert response.status_code == 501
    assert b"django-bgtasks[prometheus]" in response.content
