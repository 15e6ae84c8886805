"""Workflows in real workers."""

from __future__ import annotations

import pytest

from django_bgtasks import RESULTS, chain, group
from django_bgtasks.jobs.actions import pause_queue, resume_queue
from django_bgtasks.models import Job
from tests.app.models import Note
from tests.waiting import wait_until
from tests.workers import WorkerFactory

from . import odd_tasks, tasks
from .rules import Rows

pytestmark = pytest.mark.django_db(transaction=True)


def notes() -> list[str]:
    """What the tasks wrote, in order."""
    return list(Note.objects.order_by("pk").values_list("text", flat=True))


@pytest.mark.parametrize("arguments", [(), ("--processes", 2), ("--threads", 2)], ids=str)
def test_a_worker_runs_a_workflow_with_growth_coroutines_and_callbacks(
    bgworker: WorkerFactory, arguments: tuple[object, ...]
) -> None:
    bgworker(*arguments)
    flow = chain(
        odd_tasks.adouble.step(2),
        odd_tasks.asplit.step(30),
        group(name="parts"),
        group(odd_tasks.note_atomically.step("a"), odd_tasks.one_at_once.step(1)),
        tasks.collect.step(RESULTS),
    )
    run = flow.using(on_success=tasks.note.step("success")).enqueue()
    assert run.wait(30) == "succeeded"
    wait_until(lambda: not Job.objects.live().exists(), 20)
    assert sorted(notes()) == ["[['a', 1]]", "a", "success"]
    assert not Rows().faults_at_the_end()


def test_a_paused_queue_stops_a_workflow_until_it_is_resumed(bgworker: WorkerFactory) -> None:
    bgworker()
    later = tasks.note.using(queue_name="emails").step("emails")
    pause_queue("emails")
    run = chain(tasks.note.step("default"), later, tasks.note.step("after")).enqueue()
    wait_until(lambda: Job.objects.filter(queue="emails", state="queued").exists(), 20)
    tasks.note.enqueue("beside").wait(20)
    assert (run.outcome, notes()) == ("", ["default", "beside"])
    resume_queue("emails")
    assert run.wait(30) == "succeeded"
    assert notes() == ["default", "beside", "emails", "after"]
