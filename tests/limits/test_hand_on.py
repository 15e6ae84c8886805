"""A job is settled and the next of its lane is claimed, with the same place, in one statement."""

from __future__ import annotations

import threading
from datetime import timedelta
from types import SimpleNamespace
from uuid import UUID, uuid4

import pytest
from django.db import connection, transaction

from django_bgtasks.core import clock
from django_bgtasks.core.outcomes import Outcome
from django_bgtasks.core.states import Transition
from django_bgtasks.jobs.actions import pause_queue
from django_bgtasks.jobs.waiting import pass_on
from django_bgtasks.ledger import lanes
from django_bgtasks.ledger.admission import LANE
from django_bgtasks.ledger.lanes import first_in_line, hand_on
from django_bgtasks.ledger.lifecycle import claim_many, settle_many
from django_bgtasks.models import Job, LimitOverride

from .tasks import apply_event, call_api, crawl

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("no_messages"),
    pytest.mark.skipif(connection.vendor == "mysql", reason="there are two statements for it"),
]
DB, WORKER = "default", uuid4()


def begin(lane: str, place: int) -> Job:
    """The job that has this place runs."""
    [job] = claim_many([Job.objects.get(lane=lane, place=place).pk], WORKER, DB)
    return job


def waiting(lane: str) -> list[UUID]:
    rows = Job.objects.filter(lane=lane, waits_for="lane").order_by("enqueued_at", "pk")
    return list(rows.values_list("pk", flat=True))


def hand_on_to(job_id: UUID, *ended: Job) -> list[UUID]:
    """The jobs are settled, the first one's place is for this one. Returns who was claimed."""
    heirs = {job_id: (str(ended[0].lane), ended[0].place or 0)}
    handed = hand_on([(job, None) for job in ended], heirs, DB)
    assert handed.settled == {job.pk for job in ended}
    return [job.pk for job in handed.claimed]


def test_who_is_next_is_claimed_with_the_place_of_the_job_that_is_settled() -> None:
    call_api.enqueue_many([("a", number) for number in range(4)])
    apply_event.enqueue_many([("o", number) for number in range(2)])
    done = [(begin("api:a", 2), "of a"), (begin("order:o", 1), None)]
    found = first_in_line(["api:a", "order:o", "api:none"], DB)
    assert found is not None
    ids = {lane: line.ids for lane, line in found.items()}
    assert ids == {lane: waiting(lane) for lane in ("api:a", "order:o")}
    heirs = {ids["api:a"][0]: ("api:a", 2), ids["order:o"][0]: ("order:o", 1)}
    handed = hand_on(done, heirs, DB)
    assert handed.settled == {job.pk for job, _ in done}
    assert set(Job.objects.filter(pk__in=handed.settled).values_list("state", "place")) == {
        ("succeeded", None)
    }
    assert Job.objects.get(pk=done[0][0].pk).result == "of a"
    jobs = {job.pk: job for job in handed.claimed}
    assert {pk: (job.lane, job.place) for pk, job in jobs.items()} == heirs
    for job in Job.objects.filter(pk__in=heirs):
        assert (job.state, job.attempt, job.claims, job.worker) == ("running", 1, 1, WORKER)
        assert jobs[job.pk].claims == 1
    assert settle_many([(job, None) for job in jobs.values()], DB) == set(heirs)


def test_nobody_gets_it_who_is_not_the_first() -> None:
    call_api.enqueue_many([("a", number) for number in range(4)])
    assert not hand_on_to(waiting("api:a")[1], begin("api:a", 1))
    assert not Job.objects.filter(place=1).exists()


def test_nobody_gets_the_place_of_a_job_whose_claim_is_lost() -> None:
    call_api.enqueue_many([("a", number) for number in range(3)])
    job = begin("api:a", 1)
    Job.objects.filter(pk=job.pk).update(claims=2)
    handed = hand_on([(job, None)], {waiting("api:a")[0]: ("api:a", 1)}, DB)
    assert not handed.settled
    assert not handed.claimed
    assert len(waiting("api:a")) == 1
    assert Job.objects.get(pk=job.pk).place == 1


@pytest.mark.parametrize("at_once", [0, 1])
def test_a_place_is_not_handed_on_where_the_limit_was_lowered(at_once: int) -> None:
    call_api.enqueue_many([("a", number) for number in range(3)])
    LimitOverride.objects.create(key="api:a", at_once=at_once, changed_at=clock.now())
    # Somebody has the second one.
    assert not hand_on_to(waiting("api:a")[0], begin("api:a", 1))


def test_a_number_above_the_limit_is_not_handed_on() -> None:
    call_api.enqueue_many([("a", number) for number in range(4)])
    LimitOverride.objects.create(key="api", at_once=1, is_prefix=True, changed_at=clock.now())
    first = begin("api:a", 1)
    assert not hand_on_to(waiting("api:a")[0], begin("api:a", 2))
    assert hand_on_to(waiting("api:a")[0], first)


def test_a_job_of_a_paused_queue_one_that_has_expired_and_one_with_a_rate_are_left_out() -> None:
    call_api.enqueue_many([("a", number) for number in range(4)])
    crawl.enqueue_many([("host",)] * 3)
    assert not hand_on_to(waiting("crawl:host")[0], begin("crawl:host", 1))
    holders = [begin("api:a", 1), begin("api:a", 2)]
    job_id = waiting("api:a")[0]
    late = Job.objects.filter(pk=job_id)
    late.update(expires_at=clock.now() - timedelta(hours=1))
    assert not hand_on_to(job_id, holders[0])
    late.update(expires_at=None)
    pause_queue("default", "default")
    assert not hand_on_to(job_id, holders[1])


@pytest.mark.postgres
def test_a_row_that_is_locked_is_not_waited_for() -> None:
    def lock() -> None:
        with transaction.atomic():
            Job.objects.select_for_update().get(pk=first)
            locked.set()
            assert looked.wait(20)
        connection.close()

    call_api.enqueue_many([("a", number) for number in range(4)])
    holders = [begin("api:a", 1), begin("api:a", 2)]
    [first, second], locked, looked = waiting("api:a"), threading.Event(), threading.Event()
    other = threading.Thread(target=lock)
    other.start()
    assert locked.wait(20)
    assert not hand_on_to(first, holders[0])
    assert not hand_on_to(second, holders[1])
    looked.set()
    other.join()
    assert waiting("api:a") == [first, second]


@pytest.mark.postgres
@pytest.mark.parametrize("at_once", [1, 2])
def test_who_finds_locked_who_is_next_looks_again_until_it_is_not(
    monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """Somebody hands on the other place meanwhile, or cancels the job, and has not committed."""

    def lock() -> None:
        with transaction.atomic():
            Job.objects.select_for_update().get(pk=first)
            locked.set()
            assert missed.wait(20)
        connection.close()

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        missed.set()
        other.join()

    call_api.enqueue_many([("a", number) for number in range(4)])
    [first, second], pauses = waiting("api:a"), list[float]()
    free = list(range(1, at_once + 1))
    Job.objects.filter(lane="api:a", place__in=free).delete()
    locked, missed = threading.Event(), threading.Event()
    other = threading.Thread(target=lock)
    other.start()
    assert locked.wait(20)
    monkeypatch.setattr(lanes, "time", SimpleNamespace(sleep=pause))
    admitted = {job.id for job in lanes.admit(LANE, {"api:a": free}, DB)}
    assert admitted == ({first, second} if at_once == 2 else {first})
    assert pauses == [0.0]


@pytest.mark.postgres
def test_a_row_that_is_locked_for_long_is_left_to_whoever_has_locked_it() -> None:
    def lock() -> None:
        with transaction.atomic():
            Job.objects.select_for_update().get(pk=waiting("api:a")[0])
            locked.set()
            assert left.wait(20)
        connection.close()

    call_api.enqueue_many([("a", number) for number in range(3)])
    Job.objects.filter(lane="api:a", place=1).delete()
    locked, left = threading.Event(), threading.Event()
    other = threading.Thread(target=lock)
    other.start()
    assert locked.wait(20)
    assert not lanes.admit(LANE, {"api:a": [1]}, DB)
    left.set()
    other.join()
    assert lanes.admit(LANE, {"api:a": [1]}, DB)


@pytest.mark.postgres
def test_who_has_locked_who_is_next_for_long_looks_for_those_who_have_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As where a commit waits for a slow disk."""
    call_api.enqueue_many([("a", number) for number in range(6)])
    holder, [first, second, *rest] = begin("api:a", 1), waiting("api:a")
    # Somebody has freed the other place, and looks no more.
    Job.objects.filter(lane="api:a", place=2).delete()
    monkeypatch.setattr(lanes, "LONGEST", -1.0)
    handed = hand_on([(holder, None)], {first: ("api:a", 1)}, DB)
    pass_on([(holder, Outcome(Transition.SUCCEED))], DB, handed)
    assert waiting("api:a") == rest
    assert Job.objects.get(pk=second).place == 2


def test_in_a_paused_queue_a_sequence_keeps_its_turn_and_nobody_is_claimed() -> None:
    apply_event.enqueue_many([("o", number) for number in range(3)])
    job = begin("order:o", 1)
    pause_queue("default", "default")
    assert not hand_on_to(waiting("order:o")[0], job)
