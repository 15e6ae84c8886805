"""How fast one process enqueues."""

from __future__ import annotations

import time
from pathlib import Path

from django.db import transaction

from django_bgtasks.models import Job
from tests.app.tasks import add

from .tools import Figures

JOBS = 1000


def enqueue(directory: Path) -> Figures:
    """Jobs a second that one process enqueues: one by one, and in bulk."""
    start = time.perf_counter()
    for number in range(JOBS):
        add.enqueue(number, 1)
    one_by_one = JOBS / (time.perf_counter() - start)
    start = time.perf_counter()
    add.enqueue_many([(number, 1) for number in range(10 * JOBS)])
    in_bulk = 10 * JOBS / (time.perf_counter() - start)
    start = time.perf_counter()
    with transaction.atomic():
        for number in range(JOBS):
            add.enqueue(number, 1)
    in_one = JOBS / (time.perf_counter() - start)
    Job.objects.all().delete()
    return {
        "one by one /s": one_by_one,
        "one by one in a transaction /s": in_one,
        "enqueue_many /s": in_bulk,
    }
