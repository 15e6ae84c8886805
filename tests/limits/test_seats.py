"""Until when the seats of a rate are taken, and by whom."""

from __future__ import annotations

from datetime import timedelta

import pytest

from django_bgtasks.core import clock
from django_bgtasks.jobs.waiting import put_off_if_late
from django_bgtasks.ledger.lifecycle import claim_next
from django_bgtasks.ledger.prune import prune_seats
from django_bgtasks.ledger.seats import take_seats
from django_bgtasks.models import Job, Seat
from django_bgtasks.testing import run_jobs

from .tasks import send_mail

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_messages")]
DB = "default"


def begun() -> Job:
    """The next job, claimed, with its seat taken."""
    job = claim_next(["default"], clock.new_id(), DB)
    assert job is not None
    take_seats([job], DB)
    return job


def test_a_start_that_comes_late_keeps_its_seat_so_much_longer() -> None:
    send_mail.enqueue("a")
    job = begun()
    before = Seat.objects.get().free_at
    job.seat_taken = (1, clock.monotonic() - 20)
    put_off_if_late(job, DB)
    assert timedelta(seconds=19) < Seat.objects.get().free_at - before < timedelta(seconds=40)


def test_whoever_has_lost_its_claim_takes_no_seat_from_the_next_attempt() -> None:
    send_mail.enqueue("a")
    lost = claim_next(["default"], clock.new_id(), DB)
    assert lost is not None
    # As by a rescue: it is queued again, and has got its next seat.
    Job.objects.update(state="queued", worker=None, seat=2)
    take_seats([lost], DB)
    assert Job.objects.get().seat == 2


def test_seats_that_are_free_for_long_are_deleted_and_the_others_stay() -> None:
    send_mail.enqueue_many([("a",), ("b",)])
    run_jobs()
    Seat.objects.filter(rate="mail:a").update(free_at=clock.now() - timedelta(days=1))
    assert prune_seats(DB) == 1
    assert [seat.rate for seat in Seat.objects.all()] == ["mail:b"]
