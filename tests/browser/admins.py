"""The pages of a job in the admin, with long values and everything that can be there."""

from __future__ import annotations

from datetime import timedelta

from django.contrib.auth.models import User

from django_bgtasks.core import clock
from django_bgtasks.core.states import State
from django_bgtasks.models import Job
from tests.doors.rows import make_attempt, make_job, make_record, make_worker

JOBS = "/admin/django_bgtasks/job/"
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


def rich_job(user: User) -> Job:
    """A failed job with two attempts, a batch, records, and long arguments."""
    worker, batch, now = make_worker(), clock.new_id(), clock.now()
    error = "OSError: image file is truncated (12 bytes not processed)"
    fields = {"batch": batch, "owner": user, "worker": worker.pk, "dedup_key": "picture:4711"}
    kwargs = {"sizes": [320, 640, 1280], "caption": "a holiday " * 12, "password": "hidden"}
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
