"""What is next: strictly by priority, then by the order of the queues, then by age."""

from __future__ import annotations

from tests.waiting import wait_until
from tests.workers import WorkerFactory

from . import tasks
from .conftest import Effects
from .jobs import wait_for_state


def test_priorities_are_strict_across_queues(bgworker: WorkerFactory, effects: Effects) -> None:
    log = str(effects)
    low = tasks.record_email.using(priority=-10)
    high = tasks.record_email.using(priority=50)
    low.enqueue(log, "emails-m10")
    tasks.record_email.enqueue(log, "emails")
    tasks.record.using(priority=-100).enqueue(log, "default-m100")
    high.enqueue(log, "emails-p50")
    tasks.record.using(priority=100).enqueue(log, "default-p100")
    high.enqueue(log, "emails-p50 again")
    assert bgworker("emails", "default", "--burst").wait() == 0
    assert effects.texts == [
        "default-p100",
        "emails-p50",
        "emails-p50 again",
        "emails",
        "emails-m10",
        "default-m100",
    ]


def test_queues_are_served_in_the_order_of_the_command_line(
    bgworker: WorkerFactory, effects: Effects
) -> None:
    for number in range(2):
        tasks.record.enqueue(str(effects), f"default {number}")
        tasks.record_email.enqueue(str(effects), f"emails {number}")
    assert bgworker("emails", "default", "--burst").wait() == 0
    assert effects.texts == ["emails 0", "emails 1", "default 0", "default 1"]


def test_a_worker_serves_only_its_queues(bgworker: WorkerFactory, effects: Effects) -> None:
    other = tasks.record.enqueue(str(effects), "default")
    tasks.record_email.enqueue(str(effects), "emails")
    assert bgworker("emails", "--burst").wait() == 0
    assert effects.texts == ["emails"]
    other.refresh()
    assert other.status == "READY"


def test_a_job_with_high_priority_overtakes_while_the_worker_is_busy(
    bgworker: WorkerFactory, effects: Effects
) -> None:
    bgworker()
    tasks.wait_at_gate.enqueue(str(effects))
    wait_until(lambda: effects.texts == ["begin"])
    tasks.record.enqueue(str(effects), "normal")
    last = tasks.record.using(priority=-1).enqueue(str(effects), "low")
    tasks.record.using(priority=99).enqueue(str(effects), "high")
    effects.open_gate()
    wait_for_state(last, "succeeded")
    assert effects.texts == ["begin", "end", "high", "normal", "low"]


def test_a_priority_used_for_the_first_time_is_noticed_by_an_idle_worker(
    bgworker: WorkerFactory, effects: Effects
) -> None:
    bgworker()
    wait_for_state(tasks.record.enqueue(str(effects), "warm"), "succeeded")
    job = wait_for_state(
        tasks.record.using(priority=37).enqueue(str(effects), "new"), "succeeded", timeout=5
    )
    assert job.started_at is not None
    assert (job.started_at - job.enqueued_at).total_seconds() < 1.5
