"""The pages of a job in the admin, with long values and everything that can be there."""

from __future__ import annotations

from datetime import timedelta

from django.contrib.auth.models import User
from playwright.sync_api import Page

from django_bgtasks.core import clock
from django_bgtasks.core.retry import Retry, stored_retry
from django_bgtasks.core.states import State
from django_bgtasks.models import Attempt, AttemptLog, EffectState, HistoryEntry, Job
from tests.interfaces.rows import make_attempt, make_job, make_record, make_worker

ADMIN = "/admin/django_bgtasks/"
JOBS = f"{ADMIN}job/"
PICTURE = "testproject.office.tasks.pictures.make_sizes"
LIBRARY = "/usr/lib/python3/site-packages"
TRACEBACK = f"""Traceback (most recent call last):
  File "{LIBRARY}/django_bgtasks/flow/call.py", line 88, in call
    return task.call(*args, **kwargs)
  File "{LIBRARY}/django/tasks/base.py", line 102, in call
    return self.func(*args, **kwargs)
  File "/srv/site/office/tasks/pictures.py", line 41, in make_sizes
    copy = smaller(original, size, quality=QUALITY, keep="the longest edge of the original picture")
  File "/srv/site/office/images.py", line 17, in smaller
    image.thumbnail((width, width))
  File "{LIBRARY}/PIL/Image.py", line 2790, in thumbnail
    im = self.resize(size, resample, box=box, reducing_gap=reducing_gap)
OSError: image file is truncated (12 bytes not processed)
"""


LINES = [
    ["INFO", "office.pictures", "Picture 4711: 2 sizes to make"],
    [
        "WARNING",
        "office.images",
        "No colour profile. " + "A long line goes on in the next one. " * 4,
    ],
    ["ERROR", "PIL.Image", "image file is truncated\n12 bytes not processed " + "0" * 120],
]


def rich_job(user: User) -> Job:
    """A failed job with two attempts, a batch, records, and long arguments."""
    worker, batch, now = make_worker(), clock.new_id(), clock.now()
    error = "OSError: image file is truncated (12 bytes not processed)"
    fields = {"batch": batch, "owner": user, "worker": worker.pk, "dedup_key": "picture:4711"}
    date = {"$type": "date", "value": "2026-11-28"}
    kwargs = {
        "sizes": [320, 640],
        "taken": date,
        "caption": "a holiday " * 12,
        "password": "hidden",
    }
    job = make_job(
        State.FAILED, task=PICTURE, attempt=2, error=error, args=["4711"], kwargs=kwargs, **fields
    )
    for number in (1, 2):
        ended = now - timedelta(minutes=4 - number)
        make_attempt(
            job,
            attempt=number,
            worker=worker.pk,
            started_at=ended - timedelta(seconds=2),
            finished_at=ended,
            exception_class="OSError",
            message=error.partition(": ")[2],
            traceback=TRACEBACK,
        )
        lines = [[ended.isoformat(), *line] for line in LINES]
        AttemptLog.objects.create(job=job, attempt=number, lines=lines, left_out=12)
    make_record(key="thumbnail:4711:" + "0" * 90, job=job.pk)
    for state in (State.SUCCEEDED, State.SUCCEEDED, State.QUEUED):
        make_job(state, task=PICTURE, batch=batch)
    return job


def admin_job(user: User) -> str:
    """The page of a job that failed."""
    return f"{JOBS}{rich_job(user).pk}/change/"


def admin_copy(user: User) -> str:
    """The form of a copy of it."""
    return f"{JOBS}{rich_job(user).pk}/duplicate/"


def admin_nothing_found(user: User) -> str:
    """A list whose filters leave nothing."""
    make_job()
    return f"{JOBS}?state=stuck"


def admin_running_job(user: User) -> str:
    """The page of a job at its third attempt."""
    worker, now = make_worker(hostname="web1"), clock.now()
    done = {"progress_done": 61_000, "progress_total": 96_000, "progress_message": "row 61,000"}
    fields = {"worker": worker.pk, "attempt": 3, "owner": user, "args": ["june.csv"], **done}
    job = make_job(State.RUNNING, task=PICTURE, **fields)
    for number, outcome in ((1, "crash"), (2, "timeout")):
        ended = now - timedelta(minutes=4 - number)
        times = {"started_at": ended - timedelta(seconds=60), "finished_at": ended}
        make_attempt(job, attempt=number, outcome=outcome, worker=worker.pk, **times)
    return f"{JOBS}{job.pk}/change/"


def admin_held_job(user: User) -> str:
    """The page of a job whose task cannot be imported, and that is due later."""
    error = {
        "error": "The task shop.gone.task cannot be imported",
        "error_code": "task_not_imported",
    }
    params = {"error_params": {"task": "shop.gone.task", "why": "No module named 'shop.gone'"}}
    later = clock.now() + timedelta(hours=3)
    held = {"held_reason": "task_not_imported", "run_after": later, "owner": user}
    job = make_job(State.SCHEDULED, task="shop.gone.task", **error, **params, **held)
    return f"{JOBS}{job.pk}/change/"


def admin_succeeded_job(user: User) -> str:
    """The page of a job with a result."""
    result = {"sizes": [320, 640, 1280], "token": "hidden", "notes": "a holiday " * 12}
    job = make_job(State.SUCCEEDED, task=PICTURE, attempt=1, result=result, owner=user)
    return f"{JOBS}{job.pk}/change/"


def press_cancel(page: Page) -> None:
    """Come to the question whether a running job is to be cancelled."""
    button = page.get_by_role("button", name="Cancel")
    if not button.is_visible():
        # On a phone Unfold keeps it under an ellipsis.
        page.get_by_text("more_horiz").click()
    button.click()
    page.get_by_text("that cannot be undone").wait_for()


def admin_delete(user: User) -> str:
    """Django's question before a job is deleted."""
    return f"{JOBS}{rich_job(user).pk}/delete/"


def many_jobs(user: User) -> str:
    """More failed jobs than are taken at once."""
    job = make_job(State.FAILED, task=PICTURE, error="OSError: image file is truncated")
    values = {name: getattr(job, name) for name in ("task", "queue", "state", "error", "backend")}
    times = {"enqueued_at": job.enqueued_at, "finished_at": job.finished_at, "timeout": 60}
    Job.objects.bulk_create(Job(**values, **times) for _ in range(201))
    return f"{JOBS}?state=failed"


def admin_many(user: User) -> str:
    """A page amid many pages, of jobs of many tasks in many queues that failed in many ways."""
    jobs = [
        Job(
            task=f"shop.orders.of_customer_{number % 70}",
            queue=f"tenant-{number % 48}",
            state=State.FAILED,
            attempt=1,
            max_attempts=3,
            args=[number, f"file-{number}.csv"],
            error="ValueError: a row is no number",
            error_code="exception",
            enqueued_at=clock.now(),
            started_at=clock.now(),
            finished_at=clock.now(),
            timeout=60,
            backend="default",
        )
        for number in range(5_100)
    ]
    Job.objects.bulk_create(jobs, batch_size=500)
    errors = [f"shop.errors.Kind{number}" for number in range(60)]
    Attempt.objects.bulk_create(
        Attempt(
            job=job, attempt=1, outcome="failed", exception_class=error, finished_at=clock.now()
        )
        for job, error in zip(jobs, errors, strict=False)
    )
    return f"{JOBS}?p=52"


def ask_for_all(page: Page) -> None:
    """Come to the question whether all that match are to be deleted."""
    page.locator("#action-toggle").check()
    page.locator(".question a").click()
    page.locator("select[name=action]").first.select_option("delete_selected")
    page.locator("button[name=index]").first.click()
    page.get_by_text("This cannot be undone").wait_for()


def admin_workers(user: User) -> str:
    """One that lives, one that was lost and one that was stopped."""
    now = clock.now()
    make_worker(hostname="web1", processes=4, queues=["default", "emails", "reports"])
    make_worker(hostname="web2", lost_at=now - timedelta(minutes=3))
    make_worker(hostname="web3", stopped_at=now - timedelta(hours=2))
    return f"{ADMIN}worker/"


def admin_worker(user: User) -> str:
    """A worker with what it runs."""
    worker = make_worker(hostname="web1", processes=4, queues=["default", "emails", "reports"])
    for _ in range(3):
        make_job(State.RUNNING, task=PICTURE, worker=worker.pk, attempt=1)
    return f"{ADMIN}worker/{worker.pk}/change/"


def admin_records(user: User) -> str:
    """What was done once, in each of its states."""
    for state in EffectState:
        make_record(state, key=f"charge:{state}", job=make_job().pk)
    return f"{ADMIN}idempotencyrecord/"


def admin_record(user: User) -> str:
    """A record of which nobody knows whether its effect has happened."""
    record = make_record(EffectState.UNKNOWN, key="charge:4711", job=make_job().pk)
    return f"{ADMIN}idempotencyrecord/{record.pk}/change/"


LONG_TASK = "testproject.office.tasks.pictures_of_all_customers.make_sizes_for_every_" + "one_" * 12
LONG_QUEUE = "uploads-of-the-largest-customers-in-all-regions-" + "x" * 40


def long_job(user: User) -> Job:
    """A failed job in which all that can be long is, without a place to break it at."""
    kwargs = {"caption": "x" * 20_000, "sizes": list(range(200)), "k" * 120: "a holiday " * 300}
    fields = {"dedup_key": "picture:" + "4711" * 50, "owner": user, "worker": clock.new_id()}
    own = {"retry": stored_retry(Retry(delays=range(1, 200))), "expires_at": clock.now()}
    job = make_job(
        State.FAILED, task=LONG_TASK, queue=LONG_QUEUE, attempt=2, args=["4711" * 3000],
        kwargs=kwargs, error="OSError: " + "nowhere/" * 30, error_code="exception", **fields,
        label="thumbnail of " + "4711" * 60, **own,
    )  # fmt: skip
    for number in (1, 2):
        make_attempt(
            job, attempt=number, worker=fields["worker"], exception_class="shop.errors." + "E" * 80,
            code="exception", message="nowhere/" * 30, started_at=job.started_at,
            traceback=f"{TRACEBACK}{'x' * 3000}\n",
        )  # fmt: skip
    make_record(key="thumbnail:" + "0" * 200, job=job.pk)
    run = {"verb": "retried", "by": "anna@" + "host" * 30, "via": "bgretry", "job": job.pk}
    HistoryEntry.objects.create(at=clock.now(), task=job.task, queue=job.queue, **run)
    return job


def admin_long_job(user: User) -> str:
    """The page of a job with long values."""
    return f"{JOBS}{long_job(user).pk}/change/"


def admin_long_list(user: User) -> str:
    """A list of jobs with long values, filtered by one of them."""
    job = long_job(user)
    make_job(State.SCHEDULED, task=LONG_TASK, queue=LONG_QUEUE, run_after=clock.now())
    make_job(State.RUNNING, attempt=1, args=[4711, "june.csv"], kwargs={"password": "x"})
    return f"{JOBS}?state=failed&task={job.task}"


def admin_long_workers(user: User) -> str:
    """Workers with long names and many queues."""
    many = [f"{LONG_QUEUE}-{number}" for number in range(3)] + [f"q{n}" for n in range(40)]
    make_worker(hostname="web-frontend-5d8f7c9b6d-" + "x" * 60, queues=many, processes=64)
    make_worker(hostname="web2", queues=["default"])
    return f"{ADMIN}worker/"


def admin_long_records(user: User) -> str:
    """Idempotency records with long keys."""
    for number in range(3):
        make_record(key=f"charge:{number}:" + "0" * 220, job=make_job().pk, scope=LONG_TASK)
    return f"{ADMIN}idempotencyrecord/"


def admin_history(user: User) -> str:
    """What was done to jobs and queues."""
    job = long_job(user)
    known = {"at": clock.now(), "by": "anna", "via": "admin"}
    HistoryEntry.objects.create(**known, verb="cancelled", job=job.pk, task=PICTURE)
    HistoryEntry.objects.create(**known, verb="deleted", job=job.pk, source=job.pk, task=PICTURE)
    HistoryEntry.objects.create(**{**known, "via": "bgpause"}, verb="paused", queue="emails")
    HistoryEntry.objects.create(**known, verb="forgotten", job=job.pk, detail="charge:" + "0" * 200)
    return f"{ADMIN}historyentry/"
