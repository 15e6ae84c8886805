"""Until when the seats of a rate are taken, and by whom."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from django_bgtasks.core import clock
from django_bgtasks.core.limits import TakenSeat
from django_bgtasks.jobs.waiting import (
    await_start,
    give_back_seats,
    give_seats,
    put_off_if_late,
)
from django_bgtasks.ledger.lifecycle import claim_next, release
from django_bgtasks.ledger.prune import prune_seats
from django_bgtasks.ledger.seats import margin_of, take_seats
from django_bgtasks.ledger.times import Now, SecondsBetween
from django_bgtasks.models import Job, Seat
from django_bgtasks.testing import run_jobs

from .tasks import quick, send_mail

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_messages")]
DB = "default"


def claimed() -> tuple[Job, TakenSeat]:
    """The next job, claimed, with the seat that was taken for it."""
    job = claim_next(["default"], clock.new_id(), DB)
    assert job is not None
    assert give_seats([job], DB) == [job]
    assert job.seat_taken is not None
    return job, job.seat_taken


def free_in() -> float:
    """The seconds until the only seat is free."""
    rows = Seat.objects.annotate(seconds=SecondsBetween(Now(), "free_at"))
    return float(rows.values_list("seconds", flat=True).get())


def test_a_start_that_comes_late_keeps_its_seat_so_much_longer() -> None:
    send_mail.enqueue("a")
    job, seat = claimed()
    before = Seat.objects.get().free_at
    seat.earliest -= 20
    put_off_if_late(job, seat, DB)
    assert timedelta(seconds=19) < Seat.objects.get().free_at - before < timedelta(seconds=40)


def test_a_seat_is_free_a_period_after_the_start_and_not_a_margin_later() -> None:
    quick.enqueue()
    job, seat = claimed()
    put_off_if_late(job, seat, DB)
    before = Seat.objects.get().free_at
    seat.ended = seat.earliest
    give_back_seats([job], DB)
    given_back = (before - Seat.objects.get().free_at).total_seconds()
    assert margin_of(job) / 2 < given_back < margin_of(job)


def test_where_a_period_is_long_a_margin_is_not_worth_a_statement() -> None:
    send_mail.enqueue("a")
    job, seat = claimed()
    put_off_if_late(job, seat, DB)
    with CaptureQueriesContext(connection) as queries:
        give_back_seats([job], DB)
    assert not queries


def test_a_seat_that_its_job_has_not_begun_with_is_free_again() -> None:
    send_mail.enqueue("a")
    job, _seat = claimed()
    assert free_in() > 50
    release([job], DB)
    give_back_seats([job], DB)
    assert free_in() < 1


def test_whoever_gives_back_a_seat_that_another_has_taken_since_leaves_it_as_it_is() -> None:
    send_mail.enqueue("a")
    job, _seat = claimed()
    release([job], DB)
    # As if the period was over, and the next job had begun with it.
    Seat.objects.update(free_at=F("free_at") + timedelta(seconds=60))
    before = Seat.objects.get().free_at
    give_back_seats([job], DB)
    assert Seat.objects.get().free_at == before


def test_jobs_begin_when_their_seats_are_free_and_in_that_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = clock.monotonic()
    free = {1: start + 0.08, 2: start + 0.02}
    seats = {("mail:a", number): TakenSeat(number, at, at, 0.0) for number, at in free.items()}
    monkeypatch.setattr("django_bgtasks.jobs.waiting.take_seats", lambda jobs, using: seats)
    jobs = give_seats([Job(rate="mail:a", seat=1), Job(), Job(rate="mail:a", seat=2)], DB)
    assert [job.seat_taken.number for job in jobs if job.seat_taken] == [2, 1]
    for job in jobs:
        await_start(job)
        assert job.seat_taken is None or clock.monotonic() >= job.seat_taken.begin


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
