"""What a stranger does with limits: in the admin, with paused queues, schedules and middleware."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import F
from django.test import Client

from django_bgtasks import (
    Every,
    Limit,
    Middleware,
    Rate,
    add_middleware,
    remove_middleware,
    set_schedule,
    task,
)
from django_bgtasks.core import clock
from django_bgtasks.core.compat import InvalidTask
from django_bgtasks.core.errors import InvalidArguments
from django_bgtasks.jobs.actions import (
    cancel_job,
    pause_queue,
    resume_queue,
    run_job_anyway,
)
from django_bgtasks.jobs.execute import claim_jobs, run_claimed
from django_bgtasks.jobs.waiting import admit_waiting, put_off_if_late
from django_bgtasks.models import Job, Seat
from django_bgtasks.monitoring.ahead import jobs_ahead
from django_bgtasks.testing import run_jobs, run_schedules, without_redis

from .odd_tasks import impatient, in_order, limited, rated

pytestmark = pytest.mark.django_db(transaction=True)
DB, HOUR = "default", timedelta(hours=1)
JOBS = "/admin/django_bgtasks/job/"


@pytest.fixture(autouse=True)
def _no_messages() -> Iterator[None]:
    with without_redis():
        yield


def standing() -> list[tuple[str, int | None]]:
    return list(Job.objects.order_by("pk").values_list("state", "place"))


def test_selected_jobs_are_retried_in_the_order_of_their_sequence(admin_client: Client) -> None:
    jobs = [in_order.enqueue("a", number).id for number in range(3)]
    for job in jobs:
        cancel_job(job)
    fields = {"action": "retry_selected", "_selected_action": [str(job) for job in jobs]}
    admin_client.post(JOBS, fields)
    assert standing() == [("queued", 1), ("blocked", None), ("blocked", None)]


def test_a_paused_queue_keeps_no_start_of_a_rate_from_others() -> None:
    emails, uploads = rated.using(queue_name="emails"), rated.using(queue_name="uploads")
    emails.enqueue("a", 1)
    uploads.enqueue("a", 2)
    pause_queue("emails")
    admit_waiting(DB)
    assert [state for state, _ in standing()] == ["blocked", "queued"]
    assert len(run_jobs(["uploads"])) == 1
    resume_queue("emails")
    Seat.objects.update(free_at=F("free_at") - HOUR)
    admit_waiting(DB)
    assert [state for state, _ in standing()] == ["queued", "succeeded"]


def test_a_sequence_with_a_rate_in_a_paused_queue_keeps_its_place_and_no_start() -> None:
    both = in_order.using(rate=Rate("r", 1, per=60))
    both.using(queue_name="emails").enqueue("a", 1)
    rated.using(rate=Rate("r", 1, per=60)).enqueue("b", 2)
    pause_queue("emails")
    admit_waiting(DB)
    assert standing() == [("blocked", 1), ("queued", None)]
    assert len(run_jobs()) == 1
    Seat.objects.update(free_at=F("free_at") - HOUR)
    resume_queue("emails")
    assert len(run_jobs()) == 1


def test_a_start_that_was_late_keeps_its_seat_so_much_longer() -> None:
    """The period is one between the starts, and not between the moments they were planned for."""
    rated.enqueue("a")
    [job] = claim_jobs([Job.objects.get().pk], clock.new_id(), DB)
    before = Seat.objects.get().free_at
    assert job.seat_taken is not None
    job.seat_taken.earliest -= 5
    put_off_if_late(job, job.seat_taken, DB)
    assert Seat.objects.get().free_at - before >= timedelta(seconds=5)


def test_very_many_keys_of_one_batch_are_looked_at_some_at_a_time(
    django_assert_max_num_queries: Any,
) -> None:
    """Each statement looks for each number of its keys among the numbers of all of them."""
    # On MariaDB the ORM looks for each key by itself, however many there are.
    keys, statements = (60, 700) if connection.vendor == "mysql" else (450, 10)
    with django_assert_max_num_queries(statements):
        limited.enqueue_many([(f"key:{number}",) for number in range(keys)])
    assert Job.objects.filter(state="queued", place=1).count() == keys


def test_a_place_is_held_however_long_its_job_runs() -> None:
    """As in sidekiq 4090, solid_queue 689 and huey 538, where a lock had a time to live."""
    in_order.enqueue_many([("a", 1), ("a", 2)])
    [first] = claim_jobs([Job.objects.earliest("pk").pk], clock.new_id(), DB)
    Job.objects.update(enqueued_at=F("enqueued_at") - HOUR * 48, started_at=clock.now() - HOUR * 48)
    assert admit_waiting(DB) == 0
    assert run_claimed(first, DB)
    assert standing() == [("succeeded", None), ("queued", 1)]


def test_the_order_is_that_of_the_times_and_not_of_the_ids() -> None:
    """As in hatchet 4778."""
    jobs = [in_order.enqueue("a", number) for number in range(4)]
    for number, job in enumerate(jobs[1:]):
        Job.objects.filter(pk=job.id).update(enqueued_at=clock.now() - HOUR * number)
    assert [job.args[1] for job in run_jobs()] == [0, 3, 2, 1]


def test_of_a_task_that_is_gone_the_place_goes_to_the_next() -> None:
    limited.enqueue_many([("a", number) for number in range(3)])
    Job.objects.filter(place=1).update(task="shop.tasks.gone")
    assert len(run_jobs()) == 3
    assert standing() == [("scheduled", None), ("succeeded", None), ("succeeded", None)]


def test_a_paused_queue_of_another_backend_is_in_nobodys_way(settings: Any) -> None:
    backend = {"BACKEND": "django_bgtasks.backend.RQBackend", "QUEUES": ["default"], "OPTIONS": {}}
    settings.TASKS = {"default": backend, "other": backend}
    limited.enqueue("a", 1)
    limited.using(backend="other").enqueue_many([("a", 2), ("a", 3)])
    pause_queue("default", backend="default")
    assert standing() == [("blocked", None), ("queued", 2), ("queued", 1)]


def test_a_limit_and_a_sequence_take_each_others_place_in_using() -> None:
    with pytest.raises(InvalidTask, match="a limit or a sequence, and not both"):
        limited.using(sequence="x")
    limited.using(limit=None, sequence="x").enqueue("a")
    in_order.using(sequence=None, limit=Limit("x")).enqueue("a")
    assert standing() == [("queued", 1), ("blocked", None)]


@pytest.mark.parametrize("key", ["", 5, b"x", None])
def test_what_can_be_no_key_of_any_call_is_refused_at_its_definition(key: Any) -> None:
    for options in ({"limit": Limit(key)}, {"rate": Rate(key, 1, per=1)}):
        with pytest.raises(InvalidTask, match="format string or a callable"):
            rated.using(**options)


@pytest.mark.parametrize("per", [True, 0, -1, "60", None, timedelta(days=32), float("nan")])
def test_what_is_no_period_is_refused(per: Any) -> None:
    with pytest.raises(InvalidTask, match="per"):
        rated.using(rate=Rate("x", 5, per=per))


@pytest.mark.parametrize("key", ["{0}", "{}", "{nothing}", "{key.__class__}", "{"])
def test_a_key_that_cannot_be_made_is_refused_at_the_call(key: str) -> None:
    with pytest.raises(InvalidArguments, match="cannot be made"):
        limited.using(limit=Limit(key)).enqueue("a")


def test_who_runs_without_a_place_frees_none_when_it_ends() -> None:
    jobs = [in_order.enqueue("a", number) for number in (0, 1, 2)]
    run_job_anyway(jobs[1].id)
    [second] = claim_jobs([Job.objects.get(pk=jobs[1].id).pk], clock.new_id(), DB)
    assert run_claimed(second, DB)
    assert standing() == [("queued", 1), ("succeeded", None), ("blocked", None)]


def test_a_tick_of_a_task_that_does_not_wait_is_skipped_while_its_limit_is_full() -> None:
    impatient.enqueue_many([("a", 1), ("a", 2)])
    set_schedule("tick", impatient, Every(minutes=10), args=["a"])
    now = clock.now()
    run_schedules(now + HOUR / 2, start=now, only=["tick"], run=False)
    assert standing()[:3] == [("queued", 1), ("queued", 2), ("cancelled", None)]
    assert len(run_jobs()) == 2


def test_of_a_job_that_is_skipped_the_signal_and_the_middleware_tell_once() -> None:
    told: list[tuple[str, str]] = []

    class Noting(Middleware):
        def on_outcome(self, context: Any, outcome: Any) -> None:
            told.append(("middleware", str(context.job_id)))

    def note(sender: Any, task_result: Any, **kwargs: Any) -> None:
        told.append(("signal", str(task_result.id)))

    middleware, task_finished = Noting(), import_module("django_tasks.signals").task_finished
    add_middleware(middleware)
    task_finished.connect(note)
    try:
        impatient.enqueue_many([("a", 1), ("a", 2)])
        with transaction.atomic():
            skipped = impatient.enqueue("a", 3)
            assert told == []
    finally:
        task_finished.disconnect(note)
        remove_middleware(middleware)
    assert told == [("signal", str(skipped.id)), ("middleware", str(skipped.id))]


def test_one_that_waits_for_its_start_in_a_paused_queue_says_so() -> None:
    both = in_order.using(rate=Rate("r", 1, per=60))
    job = both.using(queue_name="emails").enqueue("a", 1)
    pause_queue("emails")
    told = jobs_ahead(Job.objects.get(pk=job.id), DB)
    assert told is not None
    assert told.code == "paused"


@pytest.mark.parametrize("key", ["{secret}", "{day:{secret}}", "{secret.real!r:>9}"])
def test_no_part_of_a_key_names_what_is_sensitive(key: str) -> None:
    limits: Any = [{"limit": Limit(key)}, {"sequence": key}, {"rate": Rate(key, 1, per=1)}]
    for options in limits:
        with pytest.raises(InvalidTask, match="sensitive"):
            decorate(sensitive=["secret"], **options)(with_secret)


decorate: Any = task


def with_secret(day: str, secret: str) -> None:
    """Nothing."""
