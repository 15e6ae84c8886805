"""Claiming and settling many jobs at once: each keeps the promises that it has alone."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_bgtasks.core import clock
from django_bgtasks.core.states import State
from django_bgtasks.ledger.connection import retried
from django_bgtasks.ledger.lifecycle import claim_many, release, settle_many
from django_bgtasks.ledger.prepared import ATTRIBUTE
from django_bgtasks.models import Job
from tests.threads import in_threads

from .rows import DB, added, claimed, in_state, keyed, new, now

pytestmark = pytest.mark.django_db
WORKER = clock.new_id()


def claimed_jobs(count: int, **fields: Any) -> list[Job]:
    """Jobs in the hands of WORKER."""
    return claim_many([added(new(**fields)).pk for _ in range(count)], WORKER, DB)


def test_a_group_is_claimed_in_the_order_of_its_messages_without_what_is_not_queued() -> None:
    jobs = [added() for _ in range(4)]
    others = [in_state(State.RUNNING).pk, in_state(State.FAILED).pk, uuid4()]
    wanted = [jobs[2].pk, others[0], jobs[0].pk, others[1], jobs[3].pk, others[2], jobs[2].pk]
    rows = claim_many(wanted, WORKER, DB)
    assert [job.pk for job in rows] == [jobs[2].pk, jobs[0].pk, jobs[3].pk]
    assert {(job.state, job.worker, job.attempt, job.claims) for job in rows} == {
        ("running", WORKER, 1, 1)
    }
    assert now(jobs[1]).state == "queued"


def test_a_group_is_settled_in_one_statement_each_with_its_own_result(form: str) -> None:
    jobs = claimed_jobs(6)
    results: list[Any] = [None, 0, "ä'\"", {"a": [1.5, None]}, [], "\\{NULL,}"]
    with CaptureQueriesContext(connection) as queries:
        settled = settle_many(list(zip(jobs, results, strict=True)), DB)
    assert settled == {job.pk for job in jobs}
    assert [now(job).result for job in jobs] == results
    assert {now(job).state for job in jobs} == {"succeeded"}
    assert all(now(job).finished_at for job in jobs)
    if form == "hot" and connection.vendor != "mysql":
        assert len(queries) == 1


def test_of_a_group_only_what_still_holds_its_claim_is_settled() -> None:
    jobs = claimed_jobs(4)
    Job.objects.filter(pk=jobs[0].pk).update(claims=2)
    Job.objects.filter(pk=jobs[1].pk).update(worker=uuid4())
    Job.objects.filter(pk=jobs[2].pk).update(state="queued")
    assert settle_many([(job, "late") for job in jobs], DB) == {jobs[3].pk}
    assert [now(job).result for job in jobs] == [None, None, None, "late"]
    assert [now(job).state for job in jobs] == ["running", "running", "queued", "succeeded"]


def test_settling_a_group_twice_after_a_commit_without_an_answer_is_no_error() -> None:
    jobs = claimed_jobs(3)
    done = [(job, None) for job in jobs]
    assert settle_many(done, DB) == settle_many(done, DB) == {job.pk for job in jobs}


def test_an_end_frees_the_dedup_keys_of_a_group_but_for_open_windows() -> None:
    live, window = claimed(keyed("a"), WORKER), claimed(keyed("b", "window"), WORKER)
    settle_many([(live, None), (window, None)], DB)
    assert (now(live).dedup_slot, now(window).dedup_slot is None) == (None, False)


def test_a_claim_frees_the_keys_that_are_held_while_queued() -> None:
    jobs = [added(keyed("a", "queued")), added(keyed("b"))]
    claim_many([job.pk for job in jobs], WORKER, DB)
    assert [now(job).dedup_slot is None for job in jobs] == [True, False]


def test_what_is_given_back_costs_no_attempt_and_its_claim_is_gone() -> None:
    jobs = claimed_jobs(3)
    Job.objects.filter(pk=jobs[2].pk).update(claims=5)
    assert release(jobs, DB) == 2
    assert [(now(job).state, now(job).attempt) for job in jobs] == [
        ("queued", 0),
        ("queued", 0),
        ("running", 1),
    ]
    assert settle_many([(job, None) for job in jobs], DB) == set()
    again = claim_many([job.pk for job in jobs], WORKER, DB)
    assert [(job.attempt, job.claims) for job in again] == [(1, 2), (1, 2)]


@pytest.mark.django_db(transaction=True)
def test_groups_that_overlap_share_the_jobs_between_them() -> None:
    jobs = [added().pk for _ in range(40)]
    workers = [clock.new_id() for _ in range(4)]
    orders = [jobs, jobs[::-1], jobs[20:] + jobs[:20], jobs[::2] + jobs[1::2]]
    claims = in_threads(
        *(
            lambda order=order, worker=worker: retried(claim_many)(order, worker, DB)
            for order, worker in zip(orders, workers, strict=True)
        )
    )
    taken = [job.pk for rows in claims for job in rows]
    assert sorted(taken) == sorted(jobs)
    assert {job.claims for job in Job.objects.all()} == {1}


@pytest.mark.postgres
@pytest.mark.parametrize("pooled", [False, True])
def test_statements_are_prepared_but_not_through_a_pooler(
    form: str, pooled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connection.settings_dict, "DISABLE_SERVER_SIDE_CURSORS", pooled)
    # As at the begin of a session: that is when the settings are read.
    connection.ensure_connection()
    monkeypatch.delattr(connection.connection, ATTRIBUTE, raising=False)
    with connection.cursor() as cursor:
        cursor.execute("DEALLOCATE ALL")
        jobs = claimed_jobs(2)
        assert settle_many([(job, None) for job in jobs], DB) == {job.pk for job in jobs}
        cursor.execute("SELECT count(*) FROM pg_prepared_statements")
        [prepared] = cursor.fetchone()
    assert (prepared > 0) == (form == "hot" and not pooled)
