"""Typed values in a real worker: coroutines side by side, functions, and rows that are gone."""

from __future__ import annotations

import datetime as dt

from django_bgtasks.models import Job
from tests.app.models import Letter, Note
from tests.app.typed import Color, Item, typed_coroutine, typed_echo, typed_skip
from tests.waiting import wait_until
from tests.workers import WorkerFactory

from .jobs import row, unfinished

DAY = dt.date(2026, 11, 28)


def test_typed_jobs_run_in_a_worker_as_in_a_test(bgworker: WorkerFactory) -> None:
    note, gone = Note.objects.create(text="a"), Note.objects.create(text="b")
    letter = Letter.objects.create(text="c", sender="ada")
    sent = (note, {DAY: letter}, Item("pen"))
    results = [one.enqueue(*sent, by=Color.RED) for one in (typed_echo, typed_coroutine) * 3]
    skipped, failed = typed_skip.enqueue(gone), typed_coroutine.enqueue(gone)
    held = typed_coroutine.enqueue()
    Job.objects.filter(pk=held.id).update(args=[{"$type": "money"}])
    gone.delete()
    bgworker()
    wait_until(lambda: unfinished() == 1 and row(held).held_reason != "", 30)
    for result in results:
        result.refresh()
        assert result.return_value == {"args": sent, "kwargs": {"by": Color.RED}}, result.job.error
    assert (row(skipped).state, row(skipped).error_code) == ("cancelled", "skipped")
    assert (row(failed).state, row(failed).error_code) == ("failed", "object_gone")
    assert (row(held).state, row(held).held_reason) == ("scheduled", "value_unreadable")
