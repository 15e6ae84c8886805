"""The dashboard in the admin: figures, charts, and the buttons that hold a queue."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from html import unescape
from html.parser import HTMLParser
from typing import Any

import pytest
import redis
from django.test import Client
from pytest_django import Settings

from django_bgtasks.core import clock
from django_bgtasks.jobs.actions import pause_queue
from django_bgtasks.models import HistoryEntry, Job, QueuePause
from django_bgtasks.monitoring.series import RANGES, series
from django_bgtasks.worker.maintenance import rollups
from testproject.servers import RedisServer
from tests.named import namespace

from .rows import make_attempt, make_job, make_worker

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_client")]
DASHBOARD = "/admin/django_bgtasks/dashboard/"


def html_of(client: Client, query: str = "") -> str:
    response = client.get(f"{DASHBOARD}{query}")
    assert response.status_code == 200
    return response.content.decode()


def busy() -> Job:
    worker = make_worker()
    job = make_job("running", worker=worker.pk)
    make_job("queued", enqueued_at=clock.now())
    for state in ("succeeded", "succeeded", "failed"):
        ended = make_job(state)
    make_attempt(ended, exception_class="ValueError", message="secret detail")
    rollups.run_once("default")
    return job


def test_an_empty_dashboard_says_what_to_do(admin_client: Client) -> None:
    html = html_of(admin_client)
    assert "No worker is running. Start one: <code>python manage.py bgworker</code>" in html
    assert "No attempt has failed." in html
    assert "There is nothing yet in this time." in html
    assert html.count("<svg class=") == 3


def test_a_busy_dashboard_shows_queues_workers_jobs_and_failures(admin_client: Client) -> None:
    job = busy()
    html = html_of(admin_client)
    assert "Nothing is wrong." not in html
    assert "1 job has failed in the last 24 h, and still is." in html
    for words in ("db1:42", "ValueError", "secret detail", "3 jobs ended.", "1 job failed."):
        assert words in html
    assert f"/admin/django_bgtasks/job/{job.pk}/change/" in html
    assert '<rect class="bgtasks-failed"' in html
    assert '<path class="bgtasks-line bgtasks-run"' in html


def test_each_process_of_a_worker_says_what_it_runs(
    admin_client: Client, redis_client: redis.Redis
) -> None:
    worker = make_worker(hostname="web1")
    job = make_job("running", task="shop.tasks.send", worker=worker.pk)
    for pid, state, current in ((71, "busy", str(job.pk)), (72, "idle", "")):
        process = f"web1.{pid}.{worker.pk.hex[-8:]}"
        name = f"rq:worker:{namespace().worker(process)}"
        redis_client.sadd("rq:workers", name)
        redis_client.hset(name, mapping={"state": state, "current_job": current})
    html = html_of(admin_client)
    assert '<span class="bgtasks-process">71 busy: send</span>' in html
    assert '<span class="bgtasks-process">72 idle</span>' in html


def test_jobs_that_are_tried_again_are_counted_and_listed_behind_their_number(
    admin_client: Client,
) -> None:
    for _ in range(2):
        make_attempt(make_job("scheduled", attempt=1), exception_class="ValueError")
    html = html_of(admin_client)
    [url] = re.findall(r'data-label="Tried again"><a href="([^"]+)">2</a></td>', html)
    assert "2 jobs" in admin_client.get(unescape(url)).content.decode()


@pytest.mark.parametrize("name", RANGES)
def test_each_range_has_its_charts_with_a_table_beside_each(
    admin_client: Client, name: str
) -> None:
    busy()
    html = html_of(admin_client, f"?range={name}")
    assert f'?range={name}&amp;backend=default" aria-current="page"' in html
    assert html.count('role="img"') == html.count("<details>") == 3
    points = series("default", name)
    assert len(points) == RANGES[name][0]
    assert sum(point.ended for point in points) == 3
    assert [point.ended for point in points if point.waits[0] is not None] != []


def test_what_nobody_has_chosen_is_the_usual(admin_client: Client) -> None:
    html = html_of(admin_client, "?range=year&backend=nothing")
    assert '?range=hour&amp;backend=default" aria-current="page"' in html


def test_the_live_sections_are_the_page_without_its_frame(admin_client: Client) -> None:
    busy()
    response = admin_client.get(f"{DASHBOARD}?live=1")
    assert "no-store" in response.headers["Cache-Control"]
    html = response.content.decode()
    assert "<html" not in html
    assert 'id="bgtasks-queues"' in html


def test_to_pause_and_to_resume_is_in_the_history(admin_client: Client) -> None:
    assert "Pause<span" in html_of(admin_client)
    data = {"queue": "emails", "backend": "default", "range": "day"}
    response = admin_client.post(f"{DASHBOARD}pause/", data, follow=True)
    html = response.content.decode()
    assert "The queue emails is paused." in html
    assert "admin has paused the queue emails; 0 jobs wait in it." in html
    assert "Resume<span" in html
    assert QueuePause.objects.get().by == "admin"
    assert "range=day" in response.redirect_chain[0][0]
    again = admin_client.post(f"{DASHBOARD}pause/", data, follow=True).content.decode()
    assert '<li class="success">' not in again
    html = admin_client.post(f"{DASHBOARD}resume/", data, follow=True).content.decode()
    assert "The queue emails goes on." in html
    assert not QueuePause.objects.exists()
    entries = HistoryEntry.objects.order_by("pk").values_list("queue", "verb", "by")
    assert list(entries) == [("emails", "paused", "admin"), ("emails", "resumed", "admin")]


def test_a_queue_that_does_not_exist_is_not_paused(admin_client: Client) -> None:
    for queue in ("emials", "", "x" * 200):
        assert admin_client.post(f"{DASHBOARD}pause/", {"queue": queue}).status_code == 400
    assert not QueuePause.objects.exists()


def test_who_may_only_look_sees_no_buttons_and_is_refused(staff: Callable[..., Client]) -> None:
    busy()
    client = staff("view_dashboard")
    html = html_of(client)
    assert "Pause<span" not in html
    assert "secret detail" not in html
    assert "/admin/django_bgtasks/job/" not in re.sub(r"job/\?queue=", "", html)
    for path in ("pause/", "resume/"):
        assert client.post(f"{DASHBOARD}{path}", {"queue": "emails"}).status_code == 403
    assert not QueuePause.objects.exists()


def test_the_dashboard_has_a_permission_of_its_own(staff: Callable[..., Client]) -> None:
    client = staff("view_job", "pause_queue")
    assert client.get(DASHBOARD).status_code == 403
    assert client.post(f"{DASHBOARD}pause/", {"queue": "emails"}).status_code == 403
    assert DASHBOARD not in client.get("/admin/django_bgtasks/").content.decode()
    assert f'href="{DASHBOARD}"' not in client.get("/admin/django_bgtasks/job/").content.decode()


def test_it_is_linked_from_the_index_and_from_the_jobs(admin_client: Client) -> None:
    for url in ("/admin/django_bgtasks/", "/admin/django_bgtasks/job/"):
        assert f'href="{DASHBOARD}"' in admin_client.get(url).content.decode()


def test_the_buttons_only_post(admin_client: Client) -> None:
    for path in ("pause/", "resume/"):
        assert admin_client.get(f"{DASHBOARD}{path}").status_code == 405
    for path in ("add/", "1/change/", "1/delete/"):
        assert admin_client.get(f"{DASHBOARD}{path}").status_code == 404


def test_nothing_is_inline_and_every_text_is_text(admin_client: Client, settings: Settings) -> None:
    settings.TASKS = {"default": {"BACKEND": "django_bgtasks.backend.RQBackend", "QUEUES": []}}
    evil = "<script>alert(1)</script>'\"&"
    worker = make_worker(hostname=evil[:60], queues=[evil])
    make_job("running", worker=worker.pk, task=evil, queue=evil)
    job = make_job("failed", task=evil, queue=evil)
    make_attempt(job, exception_class=evil, message=evil)
    pause_queue(evil, by=evil)
    rollups.run_once("default")
    html = html_of(admin_client)
    assert evil not in html
    scanner = Scanner()
    scanner.feed(html)
    assert scanner.faults == []
    data = {"queue": evil, "backend": "default"}
    assert evil not in admin_client.post(f"{DASHBOARD}resume/", data, follow=True).content.decode()
    assert not QueuePause.objects.exists()


def test_without_redis_the_page_still_opens(admin_client: Client, own_redis: RedisServer) -> None:
    own_redis.stop()
    assert "does not answer" in html_of(admin_client)


def test_a_cure_shows_what_is_to_be_typed_as_code(admin_client: Client) -> None:
    pause_queue("emails")
    html = html_of(admin_client)
    for command in ("bgworker", "bgresume emails"):
        assert f": <code>python manage.py {command}</code></span>" in html


def test_the_page_costs_a_fixed_number_of_queries(
    admin_client: Client, django_assert_max_num_queries: Any
) -> None:
    for _ in range(3):
        busy()
    admin_client.get(DASHBOARD)
    # Two of them are for workflows: those that are open, and those that have failed.
    with django_assert_max_num_queries(30):
        admin_client.get(DASHBOARD)


def test_an_old_point_is_not_shown(admin_client: Client) -> None:
    ended = clock.now() - timedelta(minutes=30)
    make_job("succeeded", finished_at=ended, started_at=ended, enqueued_at=ended)
    rollups.run_once("default", 60)
    points = series("default", "hour")
    assert sum(point.ended for point in points[:35]) == 1
    assert sum(point.ended for point in points[35:]) == 0


class Scanner(HTMLParser):
    """Finds what a strict policy would refuse, in our part of the page and around it."""

    def __init__(self) -> None:
        super().__init__()
        self.faults: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A tag opens."""
        found = dict(attrs)
        inline = tag == "style" or (tag == "script" and "src" not in found)
        if inline or "style" in found or any(name.startswith("on") for name in found):
            self.faults.append(f"<{tag} {attrs}>")
