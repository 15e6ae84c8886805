"""A night on call: 8,400 jobs in 48 queues, 300 failures of two kinds, and what else is wrong.

Rows are inserted directly, as the ledger and the workers would have left them.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User

from django_bgtasks.core import clock
from django_bgtasks.jobs.actions import pause_queue
from django_bgtasks.models import Attempt, Job, Worker
from django_bgtasks.worker.maintenance import rollups
from tests.interfaces.rows import make_job, make_worker

URL = "/admin/django_bgtasks/dashboard/"
QUEUES = tuple(f"tenant-{number:02}" for number in range(48))
BUSY = QUEUES[:12]
CHARGE, REPORT = "shop.billing.charge_customer", "shop.reports.build_monthly_report"
MAIL, GONE = "shop.letters.send_letter", "shop.legacy.import_orders"
TASKS = (CHARGE, REPORT, MAIL)
TIMEOUT, DECLINED = "timeout_killed", "shop.billing.errors.CardDeclined"
# Seconds since when only the busy queues had anything to do.
LATELY = 2 * 3600
JOBS, DECLINES, TIMEOUTS = 8_400, 180, 120
WORDS = "The bank declined the card of customer %d: insufficient funds"
TRACEBACK = """Traceback (most recent call last):
  File "/srv/shop/shop/billing/tasks.py", line 41, in charge_customer
    bank.charge(customer.card, amount)
  File "/srv/shop/shop/billing/bank.py", line 112, in charge
    raise CardDeclined(answer.reason)
shop.billing.errors.CardDeclined: The bank declined the card
"""
PAUSED, UNSERVED, SLOW = "tenant-07", "tenant-11", "tenant-03"


def night_on_call(user: User, jobs: int = JOBS) -> str:
    """All of it, with so many jobs; the path of the dashboard."""
    alive = make_worker(
        hostname="web1",
        pid=4711,
        processes=4,
        queues=list(QUEUES[:11]),
        # It stays alive for as long as somebody looks.
        dead_after=86_400.0,
        **_since(3),
    )
    dead = make_worker(
        hostname="web2", pid=4712, processes=4, queues=list(BUSY), **_since(5),
    )  # fmt: skip
    gone = clock.now() - timedelta(minutes=4)
    Worker.objects.filter(pk=dead.pk).update(last_seen_at=gone, lost_at=gone)
    failed: list[Any] = list(_failed(dead.pk))
    ended: list[Any] = sorted(
        [*_succeeded(alive.pk, jobs), *failed], key=lambda job: job.finished_at
    )
    for job in ended:
        # The newest last, as they would have come.
        job.pk = clock.new_id()
    failed.sort(key=lambda job: job.finished_at)
    Job.objects.bulk_create(ended, batch_size=500)
    Attempt.objects.bulk_create(map(_attempt_of, failed), batch_size=500)
    _running(alive)
    _waiting()
    pause_queue(PAUSED, by="grace")
    make_job("scheduled", task=GONE, queue="tenant-05", run_after=_ago(-600), **_held_columns(GONE))
    rollups.run_once("default", 24 * 60)
    return URL


def _failed(worker: UUID) -> Iterator[Job]:
    """The failures: cards that were declined, and reports that took too long."""
    for number in range(DECLINES):
        words = WORDS % number
        error = {"error": f"CardDeclined: {words}"[:255], "error_code": "exception"}
        yield _ended(number, CHARGE, "failed", 300 + 60 * number, worker, **error)
    for number in range(TIMEOUTS):
        error = {"error": "timeout: The attempt went on after its timeout of 60 s: killed."}
        error |= {"error_code": TIMEOUT}
        params = {"error_params": {"seconds": "60"}}
        yield _ended(number, REPORT, "failed", 400 + 90 * number, worker, **error, **params)


def _succeeded(worker: UUID, jobs: int) -> Iterator[Job]:
    rest = jobs - DECLINES - TIMEOUTS - 61
    for number in range(rest):
        yield _ended(number, TASKS[number % 3], "succeeded", 5 + 10 * number, worker)


def _ended(number: int, task: str, state: str, ago: int, worker: UUID, **fields: Any) -> Job:
    end, queues = _ago(ago), BUSY if ago < LATELY else QUEUES
    start = end - timedelta(seconds=0.05 + number % 7)
    enqueued = start - timedelta(seconds=number % 11)
    return Job(
        task=task,
        queue=queues[number % len(queues)],
        state=state,
        attempt=1,
        max_attempts=1,
        args=[number],
        enqueued_at=enqueued,
        started_at=start,
        finished_at=end,
        timeout=60,
        backend="default",
        worker=worker,
        **fields,
    )


def _attempt_of(job: Job) -> Attempt:
    own: dict[str, Any] = {"outcome": "timeout", "code": TIMEOUT, "params": job.error_params}
    if job.task == CHARGE:
        message = job.error.partition(": ")[2]
        own = {"outcome": "failed", "code": "exception", "exception_class": DECLINED}
        own |= {"message": message, "traceback": TRACEBACK}
    times = {"started_at": job.started_at, "finished_at": job.finished_at}
    return Attempt(job=job, attempt=1, worker=job.worker, **times, **own)


def _running(worker: Worker) -> None:
    """What the worker that is alive does now; one of it in a queue that its row does not name."""
    for queue in ("tenant-00", "tenant-01", "tenant-47"):
        started = {"started_at": _ago(20), "attempt": 1, "worker": worker.pk}
        make_job("running", task=REPORT, queue=queue, **started)


def _waiting() -> None:
    for queue, count, ago in ((PAUSED, 20, 1800), (UNSERVED, 15, 900), (SLOW, 20, 400)):
        for _number in range(count):
            make_job("queued", task=MAIL, queue=queue, enqueued_at=_ago(ago))
    make_job("queued", task=MAIL, queue="tenant-47", enqueued_at=_ago(60))
    make_job("scheduled", task=MAIL, queue="tenant-20", run_after=_ago(-3600))


def _held_columns(task: str) -> dict[str, Any]:
    why = f"No module named '{task.rpartition('.')[0]}'"
    error = f"The task {task} cannot be imported: {why}"
    code = {"error_code": "task_not_imported", "held_reason": "task_not_imported"}
    return {"error": error, "error_params": {"task": task, "why": why}, **code}


def _since(hours: int) -> dict[str, Any]:
    return {"started_at": clock.now() - timedelta(hours=hours)}


def _ago(seconds: float) -> datetime:
    return clock.now() - timedelta(seconds=seconds)
