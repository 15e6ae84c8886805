"""Workers at the isolation levels at which databases refuse what overlaps."""

from __future__ import annotations

import re
from collections import Counter
from contextlib import suppress

import pytest

from django_bgtasks import InvalidMove
from django_bgtasks.jobs.actions import cancel_job, retry_job
from django_bgtasks.models import Job, Worker
from tests.app.models import Note
from tests.settings import STRICTER
from tests.waiting import wait_until
from tests.workers import WorkerFactory

from . import tasks
from .conftest import Effects
from .jobs import unfinished

# What a worker says of what it could not do, or did not expect.
TROUBLE = re.compile(r"Traceback|could not|did not answer|serializ|[Dd]eadlock")


@pytest.mark.long(after=1)
@pytest.mark.postgres
@pytest.mark.mysql
@pytest.mark.parametrize("isolation", STRICTER)
def test_workers_run_each_job_once_at_every_isolation_level(
    bgworker: WorkerFactory, effects: Effects, isolation: str
) -> None:
    env = {"BGTASKS_TEST_ISOLATION": isolation}
    workers = [bgworker("--processes", 2, env=env) for _ in range(2)]
    wait_until(lambda: Worker.objects.count() == 2, 30.0)
    tasks.record.enqueue_many([(str(effects), f"plain {n}") for n in range(100)])
    for n in range(20):
        tasks.count_notes.enqueue()
        tasks.record_keyed.enqueue(str(effects), f"key {n % 5}")
        tasks.fail_once_each.enqueue(str(effects), n)
    stopped = tasks.record.using(queue_name="emails", priority=-100).enqueue(str(effects), "no")
    # A quick worker has run it by now.
    with suppress(InvalidMove):
        if cancel_job(stopped.id) == "cancelled":
            retry_job(stopped.id)
    wait_until(lambda: not unfinished(), 60.0, pause=0.2)
    assert Counter(Job.objects.values_list("state", flat=True)).keys() == {"succeeded"}
    plain = [text for text in effects.texts if text.startswith("plain")]
    assert sorted(plain) == sorted(f"plain {n}" for n in range(100))
    assert Note.objects.count() == 20
    assert not Worker.objects.exclude(lost_at=None).exists()
    for worker in workers:
        assert worker.stop() == 0
        lines = [line for line in worker.output.splitlines() if TROUBLE.search(line)]
        assert not [line for line in lines if "outcome=retrying" not in line]
