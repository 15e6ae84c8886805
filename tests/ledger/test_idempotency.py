"""The rows of the idempotency log."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import pytest

from django_bgtasks import FingerprintMismatch
from django_bgtasks.core import clock
from django_bgtasks.core.outcomes import Outcome
from django_bgtasks.core.states import Transition
from django_bgtasks.idempotency import records as log
from django_bgtasks.idempotency.records import Owner
from django_bgtasks.ledger.lifecycle import claim, settle
from django_bgtasks.models import IdempotencyRecord
from tests.threads import in_threads

from .rows import BROKE, DB, claimed

pytestmark = pytest.mark.django_db
MONTH = timedelta(days=30)
NOBODY = Owner()


def begun(key: str = "k", owner: Owner = NOBODY) -> IdempotencyRecord:
    assert log.begin("", key, "f", owner, MONTH, DB) is not None
    return IdempotencyRecord.objects.get(key=key)


def owner_of(job: object) -> Owner:
    return Owner(getattr(job, "pk"), getattr(job, "attempt"))  # noqa: B009


def test_a_key_is_begun_once() -> None:
    begun()
    assert log.begin("", "k", "f", NOBODY, MONTH, DB) is None
    assert log.begin("another scope", "k", "f", NOBODY, MONTH, DB)


@pytest.mark.django_db(transaction=True)
def test_of_many_who_begin_one_key_one_does() -> None:
    begin = partial(log.begin, "", "k", "f", NOBODY, MONTH, DB)
    assert sum(record is not None for record in in_threads(*[begin] * 12)) == 1


def test_what_an_effect_gave_is_found_again() -> None:
    assert log.complete(begun(), {"id": [1, "ä"]}, DB)
    found = log.find("", "k", "f", DB)
    assert found is not None
    assert (found.state, found.response) == ("done", {"id": [1, "ä"]})
    assert found.completed_at is not None
    assert found.expires_at - found.created_at == MONTH


def test_a_key_of_another_call_is_an_error() -> None:
    begun()
    with pytest.raises(FingerprintMismatch, match="'k' was used before with other arguments"):
        log.find("", "k", "g", DB)
    assert log.find("", "another", "g", DB) is None


def test_an_effect_that_was_withdrawn_may_be_begun_again() -> None:
    log.withdraw(begun(), DB)
    assert begun().state == "in_progress"


def test_an_owner_that_was_taken_over_changes_nothing_when_it_wakes() -> None:
    sleeper = begun()
    found = log.find("", "k", "f", DB)
    assert found is not None
    taken = log.take_over(found, NOBODY, DB)
    assert taken is not None
    assert not log.complete(sleeper, "late", DB)
    log.withdraw(sleeper, DB)
    assert log.complete(taken, "in time", DB)


@pytest.mark.django_db(transaction=True)
def test_of_many_who_take_an_effect_over_one_does() -> None:
    record = begun()
    found = [IdempotencyRecord.objects.get(pk=record.pk) for _ in range(8)]
    taken = in_threads(*(partial(log.take_over, copy, NOBODY, DB) for copy in found))
    assert sum(one is not None for one in taken) == 1


def test_a_claim_that_holds_keeps_its_effects() -> None:
    job = claimed()
    record = begun(owner=owner_of(job))
    assert not log.owner_is_gone(record, NOBODY, DB)
    settle(job, Outcome(Transition.RETRY_NOW, failure=BROKE), DB)
    assert log.owner_is_gone(record, NOBODY, DB)


def test_a_later_attempt_of_the_same_job_is_another_owner() -> None:
    job = claimed()
    record = begun(owner=owner_of(job))
    settle(job, Outcome(Transition.RETRY_NOW, failure=BROKE), DB)
    again = claim(job.pk, clock.new_id(), DB)
    assert log.owner_is_gone(record, NOBODY, DB)
    assert log.owner_is_gone(record, owner_of(again), DB)


def test_an_owner_without_a_job_is_given_a_lease() -> None:
    record = begun()
    assert not log.owner_is_gone(record, NOBODY, DB)
    IdempotencyRecord.objects.update(created_at=clock.now() - log.LEASE - timedelta(seconds=5))
    assert log.owner_is_gone(record, NOBODY, DB)
