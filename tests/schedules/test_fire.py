"""Firing."""

from __future__ import annotations

from datetime import timedelta

import pytest

from django_bgtasks import Every, set_schedule
from django_bgtasks.models import Job, Schedule
from django_bgtasks.schedules.fire import fire_due

from .tasks import note

pytestmark = pytest.mark.django_db(transaction=True)
DB = "default"


def test_a_tick_is_one_job() -> None:
    row = set_schedule("a", note, Every(minutes=10), args=["x"])
    assert row.next_at is not None
    assert fire_due("default", DB) == 0
    assert fire_due("default", DB, now=row.next_at) == 1
    assert fire_due("default", DB, now=row.next_at) == 0
    job = Job.objects.get()
    assert (job.schedule, job.tick, job.args, job.state) == (row.pk, row.next_at, ["x"], "queued")
    assert Schedule.objects.get().next_at == row.next_at + timedelta(minutes=10)
