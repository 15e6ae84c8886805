"""Workers and the jobs of dead ones."""

from __future__ import annotations

from datetime import timedelta
from math import inf
from typing import Any
from uuid import UUID

import pytest

from django_bgtasks.core import clock
from django_bgtasks.ledger import workers
from django_bgtasks.ledger.transitions import cancel
from django_bgtasks.models import Job, Worker

from .rows import DB, added, claimed, in_state

pytestmark = pytest.mark.django_db


def working(**fields: Any) -> UUID:
    """A worker that has just begun."""
    row = Worker(id=clock.new_id(), hostname="h", pid=1, processes=1, backend="default")
    workers.register(row, DB)
    Worker.objects.filter(pk=row.pk).update(**fields)
    return row.pk


def silent(seconds: float) -> UUID:
    """A worker that was last seen so long ago."""
    return working(last_seen_at=clock.now() - timedelta(seconds=seconds))


def test_a_beat_is_seen_at_the_clock_of_the_database() -> None:
    worker = silent(100)
    assert workers.beat(worker, DB)
    assert clock.now() - Worker.objects.get().last_seen_at < timedelta(seconds=60)


def test_a_worker_that_was_called_dead_learns_it_at_its_next_beat() -> None:
    worker = silent(11)
    assert workers.call_dead(10, DB) == 1
    assert not workers.beat(worker, DB)
    assert workers.call_dead(10, DB) == 0


def test_who_could_hear_for_ever_may_judge_all() -> None:
    silent(100)
    assert workers.call_dead(inf, DB) == 1


def test_a_worker_that_beats_is_not_called_dead() -> None:
    silent(5)
    assert workers.call_dead(10, DB) == 0


def test_who_has_always_heard_the_others_calls_the_silent_dead() -> None:
    silent(11)
    assert workers.call_dead(float("inf"), DB) == 1


def test_a_worker_that_has_signed_off_is_not_dead_and_does_not_beat() -> None:
    worker = silent(11)
    workers.sign_off(worker, DB)
    assert workers.call_dead(10, DB) == 0
    assert not workers.beat(worker, DB)
    assert not workers.beat(clock.new_id(), DB), "nor does one that was never known"


def test_orphans_are_the_running_jobs_of_workers_that_are_gone() -> None:
    active = claimed(worker=working())
    lost = [
        claimed(worker=working(lost_at=clock.now())),
        claimed(worker=working(stopped_at=clock.now())),
        claimed(worker=clock.new_id()),
    ]
    added()
    in_state("failed")
    assert {job.pk for job in workers.orphans(9, DB)} == {job.pk for job in lost}
    assert len(workers.orphans(2, DB)) == 2
    assert list(workers.running_of(active.worker or clock.new_id(), DB)) == [active]


def test_a_worker_is_told_which_of_its_attempts_to_cancel() -> None:
    worker = working()
    own, other = claimed(worker=worker), claimed(worker=working())
    claimed(worker=worker)
    for job in (own, other):
        cancel(job.pk, DB)
    assert workers.cancellations(worker, DB) == [(own.pk, 1)]


def test_workers_that_ended_long_ago_are_forgotten() -> None:
    ago = clock.now() - timedelta(days=2)
    working(stopped_at=ago, last_seen_at=ago)
    working(lost_at=ago, last_seen_at=ago)
    recent = {working(stopped_at=clock.now()), working(last_seen_at=ago)}
    assert workers.prune_workers(timedelta(days=1), DB) == 2
    assert {row.pk for row in Worker.objects.all()} == recent
    assert not Job.objects.exists()
