"""Who has freed a place gives it to the first that waits, and claims that job in one statement."""

from __future__ import annotations

import threading
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from django.db import connection, transaction

from django_bgtasks.core import clock
from django_bgtasks.jobs.actions import pause_queue
from django_bgtasks.ledger.lanes import claim_first, first_in_line
from django_bgtasks.ledger.lifecycle import claim_many, settle_many
from django_bgtasks.models import Job, LimitOverride

from .tasks import apply_event, call_api, crawl

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("no_messages"),
    pytest.mark.skipif(connection.vendor == "mysql", reason="there are two statements for it"),
]
DB, WORKER = "default", uuid4()


def free(lane: str, place: int) -> None:
    """The job that has this place succeeds, and nobody looks."""
    holder = Job.objects.get(lane=lane, place=place)
    [job] = claim_many([holder.pk], WORKER, DB)
    assert settle_many([(job, None)], DB)


def waiting(lane: str) -> list[UUID]:
    rows = Job.objects.filter(lane=lane, waits_for="lane").order_by("enqueued_at", "pk")
    return list(rows.values_list("pk", flat=True))


def test_the_first_in_line_gets_the_place_and_is_claimed() -> None:
    call_api.enqueue_many([("a", number) for number in range(4)])
    apply_event.enqueue_many([("o", number) for number in range(2)])
    free("api:a", 2)
    free("order:o", 1)
    first = first_in_line(["api:a", "order:o", "api:none"], DB)
    assert first is not None
    ids = {lane: [job.id for job in line] for lane, line in first.items()}
    behind = 20 if connection.vendor == "postgresql" else 1
    assert ids == {lane: waiting(lane)[:behind] for lane in ("api:a", "order:o")}
    numbers = {ids["api:a"][0]: ("api:a", 2), ids["order:o"][0]: ("order:o", 1)}
    jobs = {job.pk: job for job in claim_first(numbers, WORKER, DB)}
    assert {pk: (job.lane, job.place) for pk, job in jobs.items()} == numbers
    for job in Job.objects.filter(pk__in=numbers):
        assert (job.state, job.attempt, job.claims, job.worker) == ("running", 1, 1, WORKER)
        assert jobs[job.pk].claims == 1
    assert settle_many([(job, None) for job in jobs.values()], DB) == set(numbers)


def test_nobody_gets_it_who_is_not_the_first() -> None:
    call_api.enqueue_many([("a", number) for number in range(4)])
    free("api:a", 1)
    assert not claim_first({waiting("api:a")[1]: ("api:a", 1)}, WORKER, DB)
    assert not Job.objects.filter(place=1).exists()


def test_a_place_that_somebody_has_taken_is_not_given_twice() -> None:
    call_api.enqueue_many([("a", number) for number in range(3)])
    assert not claim_first({waiting("api:a")[0]: ("api:a", 1)}, WORKER, DB)
    assert Job.objects.filter(lane="api:a", place__isnull=False).count() == 2


@pytest.mark.parametrize("at_once", [0, 1])
def test_a_place_is_not_given_where_the_limit_was_lowered(at_once: int) -> None:
    call_api.enqueue_many([("a", number) for number in range(3)])
    LimitOverride.objects.create(key="api:a", at_once=at_once, changed_at=clock.now())
    free("api:a", 1)
    # Somebody has the second one.
    assert not claim_first({waiting("api:a")[0]: ("api:a", 1)}, WORKER, DB)


def test_a_number_above_the_limit_is_not_given() -> None:
    call_api.enqueue_many([("a", number) for number in range(3)])
    LimitOverride.objects.create(key="api", at_once=1, is_prefix=True, changed_at=clock.now())
    free("api:a", 1)
    free("api:a", 2)
    job_id = waiting("api:a")[0]
    assert not claim_first({job_id: ("api:a", 2)}, WORKER, DB)
    assert [job.pk for job in claim_first({job_id: ("api:a", 1)}, WORKER, DB)] == [job_id]


def test_a_job_of_a_paused_queue_one_that_has_expired_and_one_with_a_rate_are_left_out() -> None:
    call_api.enqueue_many([("a", number) for number in range(3)])
    crawl.enqueue_many([("host",)] * 3)
    free("api:a", 1)
    free("crawl:host", 1)
    assert not claim_first({waiting("crawl:host")[0]: ("crawl:host", 1)}, WORKER, DB)
    [job_id] = waiting("api:a")
    late = Job.objects.filter(pk=job_id)
    late.update(expires_at=clock.now() - timedelta(hours=1))
    assert not claim_first({job_id: ("api:a", 1)}, WORKER, DB)
    late.update(expires_at=None)
    pause_queue("default", "default")
    assert not claim_first({job_id: ("api:a", 1)}, WORKER, DB)


@pytest.mark.postgres
def test_a_row_that_is_locked_is_not_waited_for() -> None:
    def lock() -> None:
        with transaction.atomic():
            Job.objects.select_for_update().get(pk=first)
            locked.set()
            assert looked.wait(20)
        connection.close()

    call_api.enqueue_many([("a", number) for number in range(4)])
    free("api:a", 1)
    [first, second], locked, looked = waiting("api:a"), threading.Event(), threading.Event()
    other = threading.Thread(target=lock)
    other.start()
    assert locked.wait(20)
    assert not claim_first({first: ("api:a", 1)}, WORKER, DB)
    assert not claim_first({second: ("api:a", 1)}, WORKER, DB)
    looked.set()
    other.join()
    assert claim_first({first: ("api:a", 1)}, WORKER, DB)
