"""Many at once: no place is given twice, and none stays free while somebody waits."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from uuid import UUID

import pytest
from django.db import OperationalError, connection, transaction

from django_bgtasks.core import clock
from django_bgtasks.core.errors import ClaimLost
from django_bgtasks.core.outcomes import Outcome
from django_bgtasks.core.states import State, Transition
from django_bgtasks.jobs.enqueue import build
from django_bgtasks.jobs.execute import claim_jobs, run_claimed
from django_bgtasks.ledger.admission import LANE
from django_bgtasks.ledger.lanes import admit
from django_bgtasks.ledger.lifecycle import claim, insert, settle
from django_bgtasks.models import Job, LimitOverride
from django_bgtasks.testing import without_redis
from tests.threads import in_threads

from .tasks import apply_event, call_api, enter

pytestmark = pytest.mark.django_db(transaction=True)
DB, WORKER = "default", clock.new_id()


@pytest.fixture(autouse=True)
def _no_messages() -> Iterator[None]:
    with without_redis():
        yield


def held(key: str) -> list[int | None]:
    """The places of this key that somebody has."""
    rows = Job.objects.filter(lane=key, place__isnull=False)
    return list(rows.order_by("place").values_list("place", flat=True))


def run_all(ids: list[UUID]) -> None:
    """Claim and run these jobs, one after another."""
    with without_redis():
        for job in claim_jobs(ids, clock.new_id(), DB):
            assert run_claimed(job, DB)


@pytest.mark.parametrize(
    ("jobs", "at_once", "threads"),
    [(60, 20, 10), pytest.param(600, 200, 40, marks=pytest.mark.long)],
)
def test_after_many_settled_at_once_no_place_is_free_while_somebody_waits(
    jobs: int, at_once: int, threads: int
) -> None:
    LimitOverride.objects.create(key="crowd", at_once=at_once, changed_at=clock.now())
    enter.enqueue_many([()] * jobs)
    for left in range(jobs - at_once, -1, -at_once):
        ids = list(Job.objects.filter(state=State.QUEUED).values_list("pk", flat=True))
        assert len(ids) == at_once
        in_threads(*(partial(run_all, ids[first::threads]) for first in range(threads)))
        assert held("crowd") == [*range(1, min(left, at_once) + 1)]
        assert Job.objects.filter(state=State.BLOCKED).count() == max(0, left - at_once)


def test_a_zombie_that_settles_takes_no_place_from_who_has_it_now() -> None:
    first, second, third = (apply_event.enqueue("o", n) for n in range(3))
    zombie = claim(first.job.pk, WORKER, DB)
    assert zombie
    # It was rescued, and its job has run.
    Job.objects.filter(pk=zombie.pk).update(state=State.QUEUED)
    run_all([zombie.pk])
    assert claim(UUID(str(second.id)), WORKER, DB)
    for outcome in (Outcome(Transition.SUCCEED), Outcome(Transition.RETRY_NOW)):
        with pytest.raises(ClaimLost):
            settle(zombie, outcome, DB)
    assert Job.objects.get(pk=second.id).place == 1
    assert Job.objects.get(pk=third.id).place is None


@pytest.mark.postgres
def test_two_who_look_at_once_do_not_let_in_more_than_a_lowered_limit() -> None:
    """Each has freed a place of its own, and sees another job first."""
    override = LimitOverride.objects.create(key="api:a", at_once=5, changed_at=clock.now())
    call_api.enqueue_many([("a", number) for number in range(6)])
    override.at_once = 3
    override.save()
    Job.objects.filter(place__in=[1, 2, 3]).delete()
    with transaction.atomic():
        assert len(admit(LANE, {"api:a": [1]}, DB)) == 1
        in_threads(line_up_first)
        # It waits for this transaction, which has the same place, and gives up.
        with pytest.raises(OperationalError):
            in_threads(look_beside)
    assert held("api:a") == [1, 4, 5]


def line_up_first() -> None:
    """Somebody else enqueues a job that goes before all others, and has not looked yet."""
    first = build(call_api.using(priority=9), ("a", 0), {})
    assert insert(first, DB)


def look_beside() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '200ms'")
    admit(LANE, {"api:a": [2]}, DB)


@pytest.mark.postgres
def test_a_database_that_refuses_each_place_is_told_of_and_the_job_waits(
    caplog: pytest.LogCaptureFixture,
) -> None:
    table = Job._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} ADD CONSTRAINT no_places CHECK (place IS NULL)")
    try:
        result = apply_event.enqueue("o", 1)
        assert "100 looks for who may run were refused" in caplog.text
        assert "no_places" in caplog.text
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {table} DROP CONSTRAINT no_places")
    assert Job.objects.get(pk=result.id).waits_for == "lane"
    assert len(admit(LANE, {"order:o": []}, DB)) == 1
