"""A dashboard with something on it, for a picture."""

from __future__ import annotations

import math
from datetime import timedelta

from django.contrib.auth.models import User
from playwright.sync_api import Page

from django_bgtasks.core import clock
from django_bgtasks.jobs.actions import pause_queue
from django_bgtasks.models import Job
from django_bgtasks.worker.maintenance import rollups
from tests.interfaces.rows import make_attempt, make_job, make_worker

URL = "/admin/django_bgtasks/dashboard/"
TASKS = (
    ("shop.orders.send_confirmation", "emails", 0.08),
    ("shop.reports.build_monthly_report", "reports", 9.0),
    ("shop.pictures.make_thumbnails", "uploads", 0.6),
    ("shop.search.index_product", "default", 0.03),
)


def empty_dashboard(user: User) -> str:
    """Nothing has happened yet, and no worker runs."""
    return URL


def busy_dashboard(user: User) -> str:
    """An hour with a rush and a mail server that was away; a queue is paused."""
    Job.objects.bulk_create(_ended(minute, n) for minute in range(60) for n in range(_rate(minute)))
    for job in Job.objects.filter(state="failed"):
        make_attempt(
            job,
            exception_class="smtplib.SMTPServerDisconnected",
            message="Connection unexpectedly closed",
            finished_at=job.finished_at,
        )
    queues = [queue for _, queue, _ in TASKS]
    # It stays alive for as long as the picture takes.
    worker = make_worker(hostname="web1", processes=4, queues=queues, dead_after=86_400.0)
    for task, queue, _ in TASKS[1:3]:
        make_job("running", worker=worker.pk, task=task, queue=queue, attempt=1)
    for n in range(12):
        enqueued = clock.now() - timedelta(seconds=20 * n)
        make_job("queued", task=TASKS[1][0], queue="reports", enqueued_at=enqueued)
    pause_queue("reports", by=user.get_username())
    rollups.run_once("default", 60)
    return URL


def busy_queue(user: User) -> str:
    """The page of the queue whose mails could not be sent."""
    return f"{busy_dashboard(user)}queue/?name=emails&backend=default"


def busy_task(user: User) -> str:
    """The page of the task that could not send them."""
    return f"{busy_dashboard(user)}task/?name={TASKS[0][0]}&backend=default"


def press_retry(page: Page) -> None:
    """Come to the question whether all jobs of a kind of failure are to be retried."""
    page.get_by_role("button", name="Retry shop.orders").click()
    page.get_by_text("that failed by this error").wait_for()


def _rate(minute: int) -> int:
    return int(18 + 6 * math.sin(minute / 4) + (22 if 24 < minute < 34 else 0))


def _ended(minute: int, n: int) -> Job:
    """The n-th job that ended so many minutes ago; as if by chance, and always the same."""
    task, queue, seconds = TASKS[n % 4]
    chance = (minute * 37 + n * 613) % 1000 / 1000
    away = queue == "emails" and 40 < minute < 47
    end = clock.now() - timedelta(minutes=minute, seconds=50 * chance)
    start = end - timedelta(seconds=seconds * (0.5 + chance))
    wait = (2.0 if 24 < minute < 34 else 0.01) * (0.5 + chance)
    return Job(
        task=task,
        queue=queue,
        state="failed" if away or chance > 0.98 else "succeeded",
        attempt=1,
        enqueued_at=start - timedelta(seconds=wait),
        started_at=start,
        finished_at=end,
        timeout=60,
        backend="default",
    )
