"""Setting, pausing, resuming and removing schedules."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import transaction

from django_bgtasks import (
    Cron,
    Every,
    InvalidSchedule,
    pause_schedule,
    remove_schedule,
    resume_schedule,
    set_schedule,
)
from django_bgtasks.models import Schedule

from .tasks import note

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_schedule_that_is_set_waits_for_its_first_tick() -> None:
    row = set_schedule("a", note, Every(minutes=10))
    assert row.next_at is not None
    assert row.next_at - row.anchor == timedelta(minutes=10)
    assert (row.source, row.backend, row.revision) == ("made", "default", 1)


def test_a_schedule_that_is_set_again_is_edited() -> None:
    first = set_schedule("a", note, Every(minutes=10), args=["x"])
    again = set_schedule("a", note, Cron("0 6 * * *", zone="Asia/Tokyo"), args=["x"])
    assert (again.pk, again.revision, again.every) == (first.pk, 2, None)
    assert again.next_at != first.next_at


def test_what_is_set_in_a_transaction_that_is_rolled_back_is_not_set() -> None:
    with transaction.atomic():
        set_schedule("a", note, Every(minutes=10))
        transaction.set_rollback(True)
    assert not Schedule.objects.exists()


def test_pause_resume_remove() -> None:
    set_schedule("a", note, Every(minutes=10))
    assert pause_schedule("a")
    assert not pause_schedule("a")
    assert resume_schedule("a")
    assert not resume_schedule("a")
    assert remove_schedule("a")
    assert not remove_schedule("a")
    with pytest.raises(InvalidSchedule, match="no schedule 'a'"):
        pause_schedule("a")
