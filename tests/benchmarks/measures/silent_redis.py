"""What a Redis that takes connections and never answers costs those who enqueue."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from django.conf import settings
from django.test import override_settings

from django_bgtasks.models import Job
from tests.app.tasks import add

from .tools import Figures

JOBS, ROUNDS = 1000, 5


def silent_redis(directory: Path) -> Figures:
    """The 99th percentile of enqueue() with such a Redis and with the real one, in turns."""
    silent, real = [], []
    for _ in range(ROUNDS):
        real.append(percentile())
        with _silent_redis():
            silent.append(percentile())
    ratios = [one / other for one, other in zip(silent, real, strict=True)]
    return {
        "real Redis, p99 ms": median(real),
        "silent Redis, p99 ms": median(silent),
        "silent ÷ real, p99": median(ratios),
    }


def percentile() -> float:
    """The 99th percentile of JOBS calls, in milliseconds. The first of them connects."""
    took = []
    for number in range(JOBS):
        start = time.perf_counter()
        add.enqueue(number, 1)
        took.append((time.perf_counter() - start) * 1000)
    Job.objects.all().delete()
    return sorted(took)[JOBS * 99 // 100]


@contextmanager
def _silent_redis() -> Iterator[None]:
    """The site's Redis is a socket that listens and no more."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        url = f"redis://127.0.0.1:{listener.getsockname()[1]}/0"
        cache = {**settings.CACHES["default"], "LOCATION": url}
        with override_settings(CACHES={**settings.CACHES, "default": cache}):
            yield
