"""What a search of limits and rates has found: tests/model/lanes.py and rates.py."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from threading import Event, Thread
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connections, transaction
from django.utils import timezone

from django_bgtasks import Limit, Rate, task
from django_bgtasks.core.outcomes import Outcome
from django_bgtasks.core.states import Transition
from django_bgtasks.jobs.actions import pause_queue, resume_queue, run_job_anyway
from django_bgtasks.jobs.waiting import admit_waiting, pass_on
from django_bgtasks.ledger.lifecycle import claim_many, settle
from django_bgtasks.ledger.seats import take_seats
from django_bgtasks.models import Job, Seat
from django_bgtasks.testing import run_jobs, without_redis

OTHER = "reports"
pytestmark = pytest.mark.django_db(transaction=True)


@task(limit=Limit("one", at_once=1), rate=Rate("one", 1, per=60))
def both() -> None: ...


@task(limit=Limit("one", at_once=1), rate=Rate("one", 1, per=60), queue_name=OTHER)
def both_elsewhere() -> None: ...


@task(rate=Rate("alone", 1, per=60), queue_name=OTHER)
def rated_elsewhere() -> None: ...


@task(rate=Rate("alone", 1, per=60))
def rated() -> None: ...


@task(limit=Limit("key:{key}", at_once=1), dedup_key="same", on_duplicate="replace")
def replaced(key: str) -> None: ...


@task(limit=Limit("key:{key}", at_once=1))
def single(key: str) -> None: ...


@pytest.fixture(autouse=True)
def _no_messages() -> Iterator[None]:
    with without_redis():
        yield


def settled(claimed: Job) -> None:
    outcome = Outcome(Transition.SUCCEED)
    settle(claimed, outcome, "default")
    pass_on([(claimed, outcome)], "default")


def standing(job: Any) -> tuple[str, str, int | None, int | None]:
    """State, what it waits for, place and seat of a job."""
    row = Job.objects.get(pk=job.id)
    return row.state, row.waits_for, row.place, row.seat


def test_a_job_that_a_pause_has_put_back_runs_after_it() -> None:
    both.enqueue()
    pause_queue("default")
    admit_waiting("default")
    resume_queue("default")
    admit_waiting("default")
    assert len(run_jobs()) == 1


def test_a_job_that_waits_for_its_seat_in_a_paused_queue_keeps_no_place() -> None:
    Seat.objects.create(rate="one", number=1, free_at=timezone.now() + timedelta(hours=1))
    paused = both.enqueue()
    pause_queue("default")
    other = both_elsewhere.enqueue()
    admit_waiting("default")
    assert standing(paused)[2] is None
    assert standing(other)[2] == 1


def test_a_queued_job_of_a_paused_queue_keeps_no_seat() -> None:
    rated.enqueue()
    pause_queue("default")
    other = rated_elsewhere.enqueue()
    admit_waiting("default")
    assert standing(other)[0] == "queued"


def test_a_duplicate_that_takes_the_place_of_the_holder_away_lets_the_next_one_in() -> None:
    replaced.enqueue("a")
    waits = single.enqueue("a")
    replaced.using(run_after=timezone.now() + timedelta(hours=1)).enqueue("a")
    assert standing(waits)[0] == "queued"


def test_a_zombie_takes_no_seat_of_a_job_that_it_has_lost() -> None:
    job = rated.enqueue()
    [zombie] = claim_many([UUID(str(job.id))], uuid4(), "default")
    Job.objects.filter(pk=job.id).update(state="queued", seat=1)
    take_seats([zombie], "default")
    assert standing(job)[3] == 1


def test_a_job_whose_seat_another_has_taken_meanwhile_does_not_begin() -> None:
    # As a statement leaves it whose snapshot is older than that start.
    job = rated.enqueue()
    Seat.objects.create(rate="alone", number=1, free_at=timezone.now() + timedelta(hours=1))
    assert standing(job)[3] == 1
    assert run_jobs() == []


@pytest.mark.postgres
@pytest.mark.mysql
def test_who_runs_one_anyway_lets_the_next_one_in() -> None:
    holder = single.enqueue("c")
    [claimed] = claim_many([UUID(str(holder.id))], uuid4(), "default")
    first, second = single.enqueue("c"), single.enqueue("c")
    is_locked, may_commit = Event(), Event()

    def view() -> None:
        with transaction.atomic():
            run_job_anyway(first.id)
            is_locked.set()
            may_commit.wait(20)
        connections.close_all()

    thread = Thread(target=view)
    thread.start()
    assert is_locked.wait(20)
    settled(claimed)
    may_commit.set()
    thread.join()
    assert (standing(first)[0], standing(second)[0]) == ("queued", "queued")
