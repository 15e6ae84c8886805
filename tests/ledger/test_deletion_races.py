"""What is run again while it is being deleted stays, with all that belongs to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection, connections

from django_bgtasks.core import clock
from django_bgtasks.core.states import FINAL, State
from django_bgtasks.ledger import prune, transitions
from django_bgtasks.ledger.lifecycle import claim
from django_bgtasks.models import Attempt, Job

from .rows import DB, added, aged, in_state

pytestmark = pytest.mark.django_db(transaction=True)
DAY = timedelta(days=1)
BACKENDS = ("default",)
EACH_A_DAY = {str(state): DAY for state in FINAL}
# More than there are statements: the last one strikes after the end.
OF_PRUNE, OF_DELETION, OF_RELEASE = range(6), range(8), range(4)


@contextmanager
def struck_at(place: int, act: Callable[[], Any]) -> Iterator[Future[Any]]:
    """Within it, before this thread's statement number `place`, somebody else acts.

    Who has to wait for a lock of this thread acts when that is free.
    """
    numbers = iter(range(1000))

    def strike(execute: Any, *statement: Any) -> Any:
        if next(numbers) == place:
            pool.submit(set_off)
            wait([acted], 0.2)
        return execute(*statement)

    def set_off() -> None:
        try:
            acted.set_result(act())
        except Exception as error:
            acted.set_exception(error)
        finally:
            connections.close_all()

    acted: Future[Any] = Future()
    with ThreadPoolExecutor(1) as pool:
        with connection.execute_wrapper(strike):
            yield acted
        if not acted.done() and next(numbers) <= place:
            pool.submit(set_off)


def failed_long_ago() -> Job:
    return aged(in_state(State.FAILED), 2 * DAY)


def test_a_job_that_is_retried_while_maintenance_prunes_keeps_its_row_and_its_attempts() -> None:
    for place in OF_PRUNE:
        job = failed_long_ago()
        with struck_at(place, partial(transitions.retry, job.pk, DB)) as retried:
            prune.prune_jobs(EACH_A_DAY, BACKENDS, DB)
        stays = retried.exception() is None
        assert Job.objects.filter(pk=job.pk, state=State.QUEUED).exists() == stays
        assert Attempt.objects.filter(job=job.pk).exists() == stays


def test_a_job_that_is_retried_while_it_is_deleted_is_deleted_whole_or_stays_whole() -> None:
    for place in OF_DELETION:
        job = failed_long_ago()
        with struck_at(place, partial(transitions.retry, job.pk, DB)) as retried:
            gone = prune.delete_seen_jobs({job.pk: State.FAILED}, DB)
        stays = retried.exception() is None
        assert stays == (not gone)
        assert Job.objects.filter(pk=job.pk).exists() == stays
        assert Attempt.objects.filter(job=job.pk).exists() == stays


def test_a_job_that_is_claimed_while_it_is_deleted_runs_or_is_gone() -> None:
    for place in OF_DELETION:
        job = added()
        with struck_at(place, partial(claim, job.pk, clock.new_id(), DB)) as claimed:
            gone = prune.delete_seen_jobs({job.pk: State.QUEUED}, DB)
        assert bool(gone) == (claimed.result() is None)
        assert Job.objects.filter(pk=job.pk, state=State.RUNNING).exists() == (not gone)


def test_a_window_that_a_retried_job_takes_again_is_not_released() -> None:
    """The same kind: what was chosen by one statement is changed by another."""
    for place in OF_RELEASE:
        job = failed_long_ago()
        Job.objects.filter(pk=job.pk).update(
            dedup_key=f"{place}",
            dedup_slot=f"{place}",
            dedup_scope="window",
            dedup_until=clock.now() - DAY,
        )
        with struck_at(place, partial(transitions.retry, job.pk, DB)):
            prune.release_windows(DB)
        assert Job.objects.exclude(dedup_slot=None).get(pk=job.pk).state == State.QUEUED
