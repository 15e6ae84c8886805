"""A person changes how many may run at once, while jobs wait and run."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import transaction

import django_bgtasks
from django_bgtasks import reset_limit, set_limit
from django_bgtasks.core.errors import InvalidArguments
from django_bgtasks.jobs.actions import cancel_job
from django_bgtasks.ledger.history import Actor
from django_bgtasks.limits import actions
from django_bgtasks.models import HistoryEntry, Job, LimitOverride

from .tasks import apply_event, call_api

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_messages")]
ADA = Actor("ada", "admin")


def queued(lane: str) -> int:
    """How many jobs of this lane have a place."""
    return Job.objects.filter(state="queued", lane=lane, place__isnull=False).count()


def entries() -> list[tuple[str, str, str]]:
    """What the history tells."""
    return list(HistoryEntry.objects.order_by("pk").values_list("verb", "by", "detail"))


def test_what_is_done_to_limits_is_public() -> None:
    names = {"set_limit", "reset_limit", "run_job_anyway", "release_sequence"}
    assert names <= set(django_bgtasks.__all__)
    assert all(callable(getattr(django_bgtasks, name)) for name in names)


def test_those_that_wait_get_in_at_once_when_the_limit_is_raised() -> None:
    call_api.enqueue_many([("a", n) for n in range(6)] + [("b", n) for n in range(6)])
    set_limit("api:a", 4)
    assert (queued("api:a"), queued("api:b")) == (4, 2)


def test_a_prefix_is_raised_for_all_its_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "PAGE", 2)
    accounts = [f"{number}" for number in range(5)]
    call_api.enqueue_many([(account, n) for account in accounts for n in range(4)])
    apply_event.enqueue("o", 1)
    apply_event.enqueue("o", 2)
    set_limit("api", 3, prefix=True)
    assert [queued(f"api:{account}") for account in accounts] == [3] * 5
    assert queued("order:o") == 1


def test_what_is_said_of_a_key_counts_before_what_is_said_of_its_prefix() -> None:
    set_limit("api", 4, prefix=True)
    set_limit("api:a", 1)
    call_api.enqueue_many([("a", n) for n in range(6)] + [("b", n) for n in range(6)])
    assert (queued("api:a"), queued("api:b")) == (1, 4)
    reset_limit("api:a")
    assert queued("api:a") == 4


def test_a_limit_of_none_lets_nobody_in_until_it_is_left_to_the_code_again() -> None:
    set_limit("api:a", 0)
    call_api.enqueue_many([("a", n) for n in range(4)])
    assert queued("api:a") == 0
    assert reset_limit("api:a")
    assert queued("api:a") == 2
    assert not reset_limit("api:a")


def test_a_lowered_limit_takes_nobodys_place_away() -> None:
    jobs = [call_api.enqueue("a", n) for n in range(4)]
    set_limit("api:a", 1)
    assert queued("api:a") == 2
    cancel_job(jobs[0].id)
    assert queued("api:a") == 1
    cancel_job(jobs[1].id)
    assert queued("api:a") == 1


def test_a_sequence_stays_one_at_a_time() -> None:
    for number in range(3):
        apply_event.enqueue("o", number)
    set_limit("order:o", 5)
    assert queued("order:o") == 1


def test_nobody_gets_in_before_the_change_is_committed() -> None:
    call_api.enqueue_many([("a", n) for n in range(6)])
    with transaction.atomic():
        set_limit("api:a", 4)
        set_limit("api", 5, prefix=True)
        assert queued("api:a") == 2
        transaction.set_rollback(True)
    assert queued("api:a") == 2
    assert not LimitOverride.objects.exists()


def test_the_last_one_who_says_it_is_believed() -> None:
    set_limit("api:a", 4, by="ada")
    set_limit("api:a", 5, by="bob")
    row = LimitOverride.objects.get()
    assert (row.at_once, row.by) == (5, "bob")


def test_the_history_tells_who_has_said_what() -> None:
    set_limit("api:a", 4, by=ADA)
    set_limit("api", 0, prefix=True, by=ADA)
    reset_limit("api:a", by=ADA)
    reset_limit("api:b", by=ADA)
    set_limit("api:c", 1)
    assert entries() == [
        ("limit_changed", "ada", "api:a = 4"), ("limit_changed", "ada", "api:* = 0"),
        ("limit_reset", "ada", "api:a"),
    ]  # fmt: skip


def test_the_history_has_the_number_of_the_longest_key_too() -> None:
    set_limit("k" * 255, 1000, prefix=True, by=ADA)
    [(_verb, _by, detail)] = entries()
    assert detail.endswith("…:* = 1000")


@pytest.mark.parametrize("at_once", [-1, 1001, 2.0, "3", True, None])
def test_what_is_no_number_of_places_is_refused(at_once: Any) -> None:
    with pytest.raises(InvalidArguments, match="a whole number from 0 to 1,000, not"):
        set_limit("api:a", at_once)
    assert not LimitOverride.objects.exists()


@pytest.mark.parametrize(
    ("key", "prefix", "words"),
    [("", False, "has 1 to 255"), ("k" * 256, False, "not 256"), (7, False, "is a string"),
     ("a\0b", False, "NUL"), ("api:a", True, "before the first colon: it is 'api'"),
     ("api:", True, "it is 'api'")],
)  # fmt: skip
def test_what_is_no_key_is_refused(key: Any, prefix: bool, words: str) -> None:
    for act in (lambda: set_limit(key, 1, prefix=prefix), lambda: reset_limit(key, prefix=prefix)):
        with pytest.raises(InvalidArguments, match=words):
            act()
    assert not LimitOverride.objects.exists()
