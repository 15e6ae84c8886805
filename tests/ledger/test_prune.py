"""Deleting what has served its time."""

from __future__ import annotations

from datetime import timedelta

import pytest

from django_bgtasks.core import clock
from django_bgtasks.core.outcomes import Outcome
from django_bgtasks.core.states import FINAL, State, Transition
from django_bgtasks.idempotency import records
from django_bgtasks.ledger import prune
from django_bgtasks.models import Attempt, Blob, IdempotencyRecord, Job

from .rows import DB, added, aged, in_state, keyed, settled

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)
BACKENDS = ("default",)
EACH_A_DAY = {str(state): DAY for state in FINAL}


@pytest.mark.parametrize("state", State)
def test_a_final_job_is_deleted_when_its_time_is_over_and_a_live_one_never(state: State) -> None:
    aged(in_state(state), 2 * DAY)
    assert prune.prune_jobs(EACH_A_DAY, BACKENDS, DB) == int(state in FINAL)
    assert Job.objects.exists() == (state not in FINAL)


def test_each_state_has_a_time_of_its_own() -> None:
    jobs = {str(state): aged(in_state(state), 10 * DAY) for state in FINAL}
    prune.prune_jobs({"succeeded": 7 * DAY, "failed": 90 * DAY, "cancelled": 7 * DAY}, BACKENDS, DB)
    assert list(Job.objects.all()) == [jobs["failed"]]


def test_an_old_job_that_has_just_ended_stays() -> None:
    job = aged(in_state(State.FAILED), 10 * DAY)
    Job.objects.update(finished_at=clock.now())
    assert prune.prune_jobs(EACH_A_DAY, BACKENDS, DB) == 0
    assert Job.objects.get() == job


def test_a_chunk_is_deleted_at_a_time_oldest_first_with_its_attempts() -> None:
    jobs = [aged(in_state(State.FAILED), age * DAY) for age in (2, 4, 3)]
    assert prune.prune_jobs(EACH_A_DAY, BACKENDS, DB, chunk=2) == 2
    assert [attempt.job_id for attempt in Attempt.objects.all()] == [jobs[0].pk]
    assert [prune.prune_jobs(EACH_A_DAY, BACKENDS, DB, chunk=2) for _ in range(2)] == [1, 0]


def test_what_is_kept_for_a_hundred_years_is_kept() -> None:
    aged(in_state(State.FAILED), 2 * DAY)
    assert prune.prune_jobs({"failed": 36_500 * DAY}, BACKENDS, DB) == 0


def test_windows_that_are_over_are_released_in_chunks() -> None:
    for n in range(3):
        settled(Outcome(Transition.SUCCEED), keyed(f"over {n}", "window"))
    Job.objects.update(dedup_until=clock.now() - timedelta(seconds=1))
    still_open = settled(Outcome(Transition.SUCCEED), keyed("open", "window"))
    live = added(keyed("live", "window"))
    Job.objects.filter(pk=live.pk).update(dedup_until=clock.now() - timedelta(seconds=1))
    assert [prune.release_windows(DB, chunk=2) for _ in range(3)] == [2, 1, 0]
    holders = Job.objects.exclude(dedup_slot=None)
    assert set(holders) == {still_open, live}


def test_idempotency_records_are_forgotten_when_they_expire() -> None:
    for hours in (-1, 1):
        IdempotencyRecord.objects.create(
            key=f"in {hours} h",
            state="done",
            token=clock.new_id(),
            created_at=clock.now(),
            expires_at=clock.now() + timedelta(hours=hours),
        )
    assert [records.prune(DB) for _ in range(2)] == [1, 0]
    assert IdempotencyRecord.objects.get().key == "in 1 h"


@pytest.mark.parametrize("state", State)
def test_a_blob_stays_as_long_as_its_job_however_old_it_is(state: State) -> None:
    job, long_ago = in_state(state), clock.now() - 1000 * DAY
    used, gone = (
        Blob.objects.create(job=owner, data=b"x", created_at=long_ago)
        for owner in (job.pk, clock.new_id())
    )
    assert [prune.prune_blobs(DB) for _ in range(2)] == [1, 0]
    assert Blob.objects.get() == used != gone
