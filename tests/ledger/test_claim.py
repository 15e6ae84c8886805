"""The claim: by exactly one worker, and counted."""

from __future__ import annotations

from functools import partial
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_bgtasks.core import clock
from django_bgtasks.core.outcomes import Outcome
from django_bgtasks.core.states import State, Transition
from django_bgtasks.ledger.connection import retried
from django_bgtasks.ledger.lifecycle import claim, claim_next
from django_bgtasks.models import Job
from tests.threads import in_threads

from .rows import BROKE, DB, added, claimed, in_state, new, now, settled

each_database = pytest.mark.django_db
with_commits = pytest.mark.django_db(transaction=True)


@each_database
def test_a_claim_makes_a_queued_job_run_and_tells_all_that_the_row_holds() -> None:
    worker, job = clock.new_id(), added(args=[1, {"a": "ä"}], kwargs={"b": None})
    claimed = claim(job.pk, worker, DB)
    assert claimed is not None
    row = now(job)
    assert (row.state, row.worker, row.attempt) == ("running", worker, 1)
    for field in Job._meta.concrete_fields:
        assert getattr(claimed, field.attname) == getattr(row, field.attname), field.name
    assert row.started_at is not None
    assert row.started_at >= row.enqueued_at


@each_database
@pytest.mark.parametrize("state", sorted(set(State) - {State.QUEUED}))
def test_only_a_queued_job_can_be_claimed(state: State) -> None:
    job = in_state(state)
    assert claim(job.pk, clock.new_id(), DB) is None
    assert now(job).state == state
    assert now(job).worker == job.worker


@each_database
def test_a_message_of_no_job_claims_nothing() -> None:
    assert claim(uuid4(), clock.new_id(), DB) is None


@each_database
def test_the_attempt_is_counted_at_the_claim_so_that_a_crash_counts() -> None:
    job = settled(Outcome(Transition.RETRY_NOW, failure=BROKE))
    assert job.attempt == 1
    claimed = claim(job.pk, clock.new_id(), DB)
    assert claimed is not None
    assert now(job).attempt == claimed.attempt == 2


@each_database
def test_a_claim_is_one_statement(form: str) -> None:
    if form == "portable" or connection.vendor == "mysql":
        pytest.skip("the portable form locks and reads first")
    job = added()
    with CaptureQueriesContext(connection) as queries:
        claim(job.pk, clock.new_id(), DB)
    assert len(queries) == 1


@with_commits
def test_of_many_workers_exactly_one_claims_a_job() -> None:
    job = added()
    workers = [clock.new_id() for _ in range(12)]
    answers = in_threads(*(partial(retried(claim), job.pk, worker, DB) for worker in workers))
    winners = [found.worker for found in answers if found is not None]
    assert winners == [now(job).worker]
    assert now(job).attempt == 1


@with_commits
def test_workers_that_ask_the_database_never_get_the_same_job() -> None:
    jobs = {added().pk for _ in range(24)}

    def drain() -> list[UUID]:
        ids = []
        while Job.objects.filter(state=State.QUEUED).exists():
            job = claim_next(["default"], clock.new_id(), DB)
            ids += [job.pk] if job else []
        return ids

    claimed_by_all = [pk for ids in in_threads(*[drain] * 6) for pk in ids]
    assert sorted(claimed_by_all) == sorted(jobs)


@each_database
def test_the_database_is_served_by_priority_then_queue_then_age() -> None:
    order = [("b", 9), ("a", 0), ("a", 0), ("b", 0), ("a", -5), ("c", 100)]
    jobs = {added(queue=queue, priority=rank).pk: (queue, rank) for queue, rank in order}
    got = []
    while (job := claim_next(["a", "b"], clock.new_id(), DB)) is not None:
        got.append(job.pk)
    assert [jobs[pk] for pk in got] == order[:5]
    assert got[1] < got[2], "the older of two equals first"


@each_database
def test_who_claims_from_the_database_is_told_the_job_before_it_is_claimed() -> None:
    job, calls = added(), list[tuple[UUID, str]]()
    claim_next(["default"], clock.new_id(), DB, lambda pk: calls.append((pk, now(job).state)))
    assert calls == [(job.pk, "queued")]


@each_database
def test_a_duplicate_message_finds_nothing_to_claim() -> None:
    job = claimed(new())
    assert claim(job.pk, job.worker or uuid4(), DB) is None
    assert now(job).attempt == 1
