"""The job list and the page of a job beside a large table of jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.contrib.auth.models import User
from django.test import Client

from django_bgtasks.core.states import State
from django_bgtasks.models import Attempt, Job

from .dashboard import ROWS, _fill, analyze, milliseconds

LIST = "/admin/django_bgtasks/job/"
STATES = (*State.values, "retrying", "held", "stuck")
AGES = ("hour", "day", "week", "month", "older")
# What each needs of the table; names of queues and tasks have no index and read all of it.
FILTERS = {
    "list": "",
    **{state: f"?state={state}" for state in STATES},
    **{f"time: {age}": f"?age={age}" for age in AGES},
    "queue": "?queue=emails",
    "task": "?task=shop.tasks.task_3",
    "search for a dedup key": "?q=order:7",
    "search for an owner": "?q=root",
    "a queue without jobs": "?queue=nobody",
    "error": "?error=shop.errors.Error3",
    "failed, and an error": "?state=failed&error=shop.errors.Error3",
    "failed, and an error that no job has": "?state=failed&error=shop.errors.Other",
    "time of the end: last hour": "?finished=hour",
    "time of the end: last 7 days": "?finished=week",
    "search in task names": "?q=ask_3",
    "search in arguments": "?q=4711",
    "search for what is nowhere": "?q=nowhere",
}


def admin(directory: Path) -> dict[str, float]:
    """Each page with 100 jobs and with as many as ROWS says; milliseconds of the whole response."""
    from django.db import connection

    rows = ROWS[connection.vendor]
    root = User.objects.get_or_create(username="root", is_staff=True, is_superuser=True)[0]
    client = Client()
    client.force_login(root)
    _fill(100)
    special = _mark(root)
    analyze()
    found = {f"{name}, 100 jobs, ms": ms for name, ms in _pages(client, special).items()}
    _fill(rows - 100)
    analyze()
    found |= {f"{name}, {rows:,} jobs, ms": ms for name, ms in _pages(client, special).items()}
    for model in (Attempt, Job):
        model._base_manager.all()._raw_delete("default")
    return found


def _mark(root: User) -> Any:
    """One job of the 100, with a dedup key and an owner."""
    job = Job.objects.filter(state="failed").earliest("pk")
    Job.objects.filter(pk=job.pk).update(dedup_key="order:7", owner=root)
    return job.pk


def _pages(client: Client, pk: Any) -> dict[str, float]:
    pages = {name: f"{LIST}{query}" for name, query in FILTERS.items()}
    pages["page of a job"] = f"{LIST}{pk}/change/"
    return {name: milliseconds(lambda url=url: client.get(url)) for name, url in pages.items()}  # type: ignore[misc]
