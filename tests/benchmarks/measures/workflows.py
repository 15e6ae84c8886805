"""What workflows cost: a wide group and a long chain, beside jobs that are in none."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.db import connection, connections

from django_bgtasks import chain, group
from django_bgtasks.models import Batch, Job
from tests.app.tasks import add
from tests.waiting import wait_until

from .. import tasks
from .tools import Figures, emptied, rate, settled, worker

MEMBERS, PLAIN, STEPS = 45_000, 20_000, 1000
FAN_INS, WIDE = 20, 50
EVERY, LONG_WAIT = 0.01, 0.01
CROWD = 16


def workflows(directory: Path) -> Figures:
    """A group of very many members, a chain of many steps, and what comes after a group."""
    plain = _drained(directory, lambda: add.enqueue_many([(n, 1) for n in range(PLAIN)]))
    figures = _wide(directory, plain)
    return {**figures, **_fan_in(directory), **_chain(directory), **_crowd(directory)}


def _wide(directory: Path, plain: float) -> Figures:
    emptied()
    start = time.perf_counter()
    members = group(add.step(number, 1) for number in range(MEMBERS))
    chain(members, tasks.unlimited.step("last")).enqueue()
    enqueued = time.perf_counter() - start
    drained = _run(directory)
    return {
        f"{MEMBERS:,} members enqueued, s": enqueued,
        "no workflow, jobs /s": plain,
        f"{MEMBERS:,} members, jobs /s": drained,
        "members ÷ no workflow": drained / plain,
        "the step after them begins, ms": _after_the_last(),
    }


def _after_the_last() -> float:
    """Milliseconds from the last end of a member until the step after them begins."""
    last = Job.objects.filter(task=tasks.unlimited.module_path).get()
    members = Job.objects.filter(task=add.module_path).order_by("-finished_at")
    ended = members.values_list("finished_at", flat=True)[0]
    assert last.started_at is not None
    assert ended is not None
    return (last.started_at - ended).total_seconds() * 1000


def _fan_in(directory: Path) -> Figures:
    """The same of small groups, one after another, in an idle worker."""
    emptied()
    waits = []
    with worker(directory, "--processes", 2, "--verbosity", 0):
        for number in range(FAN_INS):
            members = group(add.step(n, 1) for n in range(WIDE))
            chain(members, tasks.unlimited.step(str(number))).enqueue().wait(30)
            waits.append(_after_the_last())
            Job.objects.all().delete()
            Batch.objects.all().delete()
    waits.sort()
    return {
        f"the step after {WIDE} members begins, median ms": waits[len(waits) // 2],
        f"the step after {WIDE} members begins, worst ms": waits[-1],
    }


def _chain(directory: Path) -> Figures:
    """Steps a second, beside jobs each of which is enqueued when the one before it has ended."""
    emptied()
    with worker(directory, "--processes", 1, "--verbosity", 0):
        start = time.perf_counter()
        chain([add.step(1, 1)] * STEPS).enqueue()
        enqueued = time.perf_counter() - start
        _wait_over(600)
    steps = rate()
    emptied()
    with worker(directory, "--processes", 1, "--verbosity", 0):
        tasks.enqueue_next.enqueue(STEPS // 4)
        _wait_over(600)
    one_by_one = rate()
    return {
        f"a chain of {STEPS:,} enqueued, s": enqueued,
        "steps of it /s": steps,
        "jobs that enqueue the next one /s": one_by_one,
        "steps ÷ jobs that enqueue the next": steps / one_by_one,
    }


def _crowd(directory: Path) -> Figures:
    """How many of the statements of many job processes wait for locks, in one group."""
    if connection.vendor != "postgresql":
        return {}
    emptied()
    group(add.step(number, 1) for number in range(MEMBERS // 3)).enqueue()
    settled()
    with lock_waits() as waits, worker(directory, "--processes", CROWD, "--verbosity", 0):
        _wait_over(600)
    return {
        f"{CROWD} processes, samples of lock waits": float(waits["samples"]),
        f"{CROWD} processes, waits for a lock > 10 ms": float(len(waits["long"])),
        f"{CROWD} processes, jobs /s": rate(),
    }


@contextmanager
def lock_waits() -> Iterator[dict[str, Any]]:
    """Looks at pg_stat_activity every few milliseconds for who waits for a lock of a row, how long.

    "samples": the looks; "long": the backends that were seen waiting for more than 10 ms.
    """
    found: dict[str, Any] = {"samples": 0, "long": set()}
    is_over = threading.Event()
    statement = """
        SELECT pid, query_start, left(query, 200) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'
        AND clock_timestamp() - query_start > interval '10 milliseconds'
    """

    def look() -> None:
        try:
            while not is_over.wait(EVERY):
                with connection.cursor() as cursor:
                    cursor.execute(statement)
                    found["long"].update(cursor.fetchall())
                    found["samples"] += 1
        finally:
            connections.close_all()

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        is_over.set()
        thread.join()


def _drained(directory: Path, enqueue: Any) -> float:
    emptied()
    enqueue()
    return _run(directory)


def _run(directory: Path) -> float:
    settled()
    with worker(directory, "--processes", 2, "--verbosity", 0):
        _wait_over(600)
    return rate()


def _wait_over(seconds: float) -> None:
    """Wait until nothing is live nor open. To count those that wait would take from the rate."""
    live = Job.objects.filter(finished_at=None)
    unfinished = Batch.objects.filter(finished_at=None)
    is_over = lambda: not live.exists() and not unfinished.exists()  # noqa: E731
    wait_until(is_over, timeout=seconds, pause=0.1)
    assert not Job.objects.exclude(state="succeeded").exists()
