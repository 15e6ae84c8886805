"""The pages of one queue and of one task, and the dashboard's table of queues."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from urllib.parse import urlencode

import pytest
from django.test import Client
from pytest_django import Settings

from django_bgtasks.core import clock
from django_bgtasks.jobs.actions import pause_queue
from django_bgtasks.models import QueuePause
from django_bgtasks.worker.maintenance import rollups

from .rows import make_attempt, make_job, make_worker
from .test_dashboard import Scanner

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_client")]
DASHBOARD = "/admin/django_bgtasks/dashboard/"
SEND = "shop.tasks.send"


def page_of(client: Client, kind: str, name: str, **query: str) -> str:
    url = f"{DASHBOARD}{kind}/?{urlencode({'name': name, **query})}"
    response = client.get(url)
    assert response.status_code == 200
    return response.content.decode()


def busy() -> None:
    worker = make_worker(hostname="web1", queues=["emails"])
    make_worker(hostname="web2", queues=["reports"])
    make_job("running", queue="emails", worker=worker.pk)
    for state in ("succeeded", "succeeded", "failed"):
        job = make_job(state, queue="emails", attempt=1)
    make_attempt(job, exception_class="OSError", message="disk full")
    make_job("succeeded", queue="reports", task="shop.tasks.report")
    for _number in range(3):
        make_job("queued", queue="emails", enqueued_at=clock.now())
    rollups.run_once("default")


def test_the_page_of_a_queue_has_its_figures_and_nobody_elses(admin_client: Client) -> None:
    busy()
    html = page_of(admin_client, "queue", "emails")
    assert "<title>Queue emails" in html
    for words in ("web1:42", "OSError", "disk full", "3 jobs ended.", "1 job failed."):
        assert words in html
    assert "web2:42" not in html
    assert "shop.tasks.report" not in re.sub(r"<wbr>", "", html)
    assert 'state=queued&amp;queue=emails">3</a>' in html
    assert f"{DASHBOARD}task/?name=shop.tasks.send" in html
    assert "33 %" in html
    assert "Pause<span" in html


def test_the_page_of_a_task_has_its_queues(admin_client: Client) -> None:
    busy()
    html = page_of(admin_client, "task", SEND)
    assert f"<title>Task {SEND}" in html
    assert f'state=queued&amp;task={SEND}">3</a>' in html
    assert f"{DASHBOARD}queue/?name=emails" in html
    assert "Pause<span" not in html


def test_a_queue_is_paused_on_its_page(admin_client: Client) -> None:
    busy()
    data = {"queue": "emails", "backend": "default", "kind": "queue", "name": "emails"}
    response = admin_client.post(f"{DASHBOARD}pause/", data, follow=True)
    assert response.redirect_chain[0][0].startswith(f"{DASHBOARD}queue/?name=emails")
    html = response.content.decode()
    assert "admin has paused the queue emails; 3 jobs wait in it." in html
    assert "Resume<span" in html
    assert QueuePause.objects.count() == 1


def test_what_is_wrong_elsewhere_is_not_on_the_page(admin_client: Client) -> None:
    busy()
    pause_queue("reports")
    assert "The queue reports" not in page_of(admin_client, "queue", "emails")
    assert "The queue reports is paused" in page_of(admin_client, "queue", "reports")


def test_a_held_job_is_told_on_the_page_of_its_task(admin_client: Client) -> None:
    make_worker()
    fields = {"held_reason": "task_not_imported", "error_params": {"task": "a.b", "why": "gone"}}
    make_job("scheduled", task="a.b", run_after=clock.now() + timedelta(minutes=5), **fields)
    assert "1 job of a.b is held: The task a.b cannot be imported" in page_of(
        admin_client, "task", "a.b"
    )


@pytest.mark.parametrize("kind", ["queue", "task"])
def test_what_nobody_knows_has_no_page(admin_client: Client, kind: str) -> None:
    busy()
    for name in ("nosuch", "", "a\0b", "x" * 300):
        url = f"{DASHBOARD}{kind}/?{urlencode({'name': name})}"
        assert admin_client.get(url).status_code == 404


def test_the_pages_are_for_who_may_see_the_dashboard(staff: Callable[..., Client]) -> None:
    busy()
    looks = staff("view_dashboard")
    for kind, name in (("queue", "emails"), ("task", SEND)):
        html = page_of(looks, kind, name)
        assert "disk full" not in html
        assert "/admin/django_bgtasks/job/" not in html
        assert "<form" not in html.partition('id="content-main"')[2].partition("bgtasks-as-of")[0]


def test_the_pages_need_the_permission_of_the_dashboard(staff: Callable[..., Client]) -> None:
    busy()
    client = staff("view_job", "pause_queue")
    for kind, name in (("queue", "emails"), ("task", SEND)):
        url = f"{DASHBOARD}{kind}/?{urlencode({'name': name})}"
        assert client.get(url).status_code == 403


@pytest.mark.parametrize("kind", ["queue", "task"])
def test_the_live_sections_are_the_page_without_its_frame(admin_client: Client, kind: str) -> None:
    busy()
    html = page_of(admin_client, kind, "emails" if kind == "queue" else SEND, live="1")
    assert "<html" not in html
    assert 'id="bgtasks-as-of"' in html


def test_nothing_is_inline_and_every_text_is_text(admin_client: Client, settings: Settings) -> None:
    settings.TASKS = {"default": {"BACKEND": "django_bgtasks.backend.RQBackend", "QUEUES": []}}
    evil = "<script>alert(1)</script>'\"&#?/"
    job = make_job("failed", task=evil, queue=evil, attempt=1)
    make_attempt(job, exception_class=evil, message=evil)
    rollups.run_once("default")
    for kind in ("queue", "task"):
        html = page_of(admin_client, kind, evil)
        assert evil not in html
        scanner = Scanner()
        scanner.feed(html)
        assert scanner.faults == []
    data = {"task": evil, "error": evil, "finished": "day", "action": "retry"}
    html = admin_client.post(f"{DASHBOARD}failures/", data).content.decode()
    assert "1 job that failed" in html
    assert evil not in html


def test_a_job_links_to_its_task_and_its_queue(
    admin_client: Client, staff: Callable[..., Client]
) -> None:
    job = make_job(task="shop.tasks.a&b", queue="x y")
    url = f"/admin/django_bgtasks/job/{job.pk}/change/"
    html = admin_client.get(url).content.decode()
    assert f"{DASHBOARD}task/?name=shop.tasks.a%26b&amp;backend=default" in html
    assert f"{DASHBOARD}queue/?name=x%20y&amp;backend=default" in html
    assert f"{DASHBOARD}task/" not in staff("view_job").get(url).content.decode()


def rows_of(html: str) -> tuple[list[str], list[str]]:
    """The queues of the table in its order, and the idle ones in their fold."""
    section = html[html.index('<section id="bgtasks-queues"') :].partition("</section>")[0]
    busy, _, idle = section.partition("<details")
    pattern = r'<tr data-key="([^"]+)"'
    return re.findall(pattern, busy), re.findall(pattern, idle)


def test_queues_in_trouble_come_first_and_idle_ones_are_folded(
    admin_client: Client, settings: Settings
) -> None:
    names = [f"tenant-{number:02}" for number in range(48)]
    settings.TASKS = {"default": {"BACKEND": "django_bgtasks.backend.RQBackend", "QUEUES": names}}
    worker = make_worker(queues=names[:10])
    make_job("running", queue=names[1], worker=worker.pk)
    make_job("failed", queue=names[2])
    for place, minutes in ((3, 10), (4, 2), (5, 30), (20, 1)):
        ago = clock.now() - timedelta(minutes=minutes)
        make_job("queued", queue=names[place], enqueued_at=ago)
    pause_queue(names[4])
    pause_queue(names[6])
    rollups.run_once("default")
    busy, idle = rows_of(admin_client.get(DASHBOARD).content.decode())
    # Paused with a waiting job; by a problem the longest waiting first; failing; busy.
    assert busy == [names[place] for place in (4, 5, 3, 20, 6, 2, 1)]
    assert idle == [name for name in names if name not in busy]


def test_without_queues_the_table_says_so(admin_client: Client, settings: Settings) -> None:
    html = admin_client.get(DASHBOARD).content.decode()
    busy, idle = rows_of(html)
    assert (busy, idle) == ([], ["default", "emails", "reports", "uploads"])
    assert '<details class="bgtasks-idle" open>' in html
