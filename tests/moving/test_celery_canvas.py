"""Chains, groups and chords of Celery's kind, run as workflows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.utils import timezone

from django_bgtasks.contrib import celery
from django_bgtasks.contrib.celery import GroupResult, chain, chord, group
from django_bgtasks.models import Job
from django_bgtasks.testing import run_jobs, without_redis
from tests.moving import celery_tasks as tasks
from tests.moving.celery_cases import canvas_cases

pytestmark = pytest.mark.django_db(transaction=True)
add, total, note, fail = tasks.add, tasks.total, tasks.note, tasks.fail


@pytest.fixture(autouse=True)
def no_redis() -> Iterator[None]:
    tasks.SEEN.clear()
    with without_redis():
        yield


def run_all() -> None:
    """Run all jobs, those for later included."""
    while run_jobs() or Job.objects.filter(state="scheduled").update(run_after=timezone.now()):
        pass


CASES = canvas_cases(celery, tasks)


@pytest.mark.parametrize("name", CASES)
def test_a_canvas_gives_what_celery_gives(name: str) -> None:
    make, expected = CASES[name]
    result = make().apply_async()
    run_all()
    assert result.get(timeout=1) == expected
    assert result.ready()


@pytest.mark.parametrize("name", CASES)
def test_a_canvas_that_runs_at_once_gives_the_same(name: str) -> None:
    make, expected = CASES[name]
    result = make().apply()
    assert result.get() == expected
    assert not Job.objects.exists()


def test_a_chord_is_called_with_its_body() -> None:
    result = chord(add.s(n, n) for n in range(4))(total.s())
    assert isinstance(result.parent, GroupResult)
    run_all()
    assert result.get(timeout=1) == 12
    assert result.parent.completed_count() == 4
    assert result.parent.get() == [0, 2, 4, 6]


def test_a_chain_knows_its_parents() -> None:
    result = chain(add.s(1, 1), add.s(2), add.s(3))()
    run_all()
    assert [result.get(), result.parent.get(), result.parent.parent.get()] == [7, 4, 2]


def test_a_group_is_found_again_by_its_id() -> None:
    result = group(add.s(1, 1), fail.s()).apply_async()
    result.save()
    run_all()
    found = GroupResult.restore(result.id)
    assert found is not None
    assert [each.state for each in found] == ["SUCCESS", "FAILURE"]
    assert (found.ready(), found.failed(), found.completed_count()) == (True, True, 1)
    with pytest.raises(ValueError, match="no"):
        found.get()


def test_the_errback_of_a_chain_is_called_for_the_task_that_failed() -> None:
    flow = chain(add.s(1, 1), fail.si("bad"), note.s())
    flow.link_error(tasks.report.s())
    flow.apply_async()
    run_all()
    [(kind, job_id, error, has_traceback)] = tasks.SEEN
    assert (kind, error, has_traceback) == ("errback", "ValueError('bad')", True)
    assert Job.objects.get(pk=job_id).task.endswith(".fail")


def test_the_errback_of_a_chord_is_called_when_its_header_fails() -> None:
    chord([add.s(1, 1), fail.s("bad")], total.s().on_error(tasks.report_id.s())).apply_async()
    run_all()
    failed = Job.objects.get(state="failed")
    assert [("errback", str(failed.pk))] == tasks.SEEN


def test_a_link_of_several_steps_follows_too() -> None:
    add.apply_async((1, 1), link=chain(add.s(1), note.s()))
    run_all()
    assert tasks.SEEN == [((3,), {})]


def test_a_chain_goes_on_although_a_link_hangs_on_its_first_step() -> None:
    first = add.s(1, 1)
    first.link(note.s("link"))
    result = chain(first, add.s(5)).apply_async()
    run_all()
    assert result.get(timeout=1) == 7
    assert tasks.SEEN == [((2, "link"), {})]


def test_a_countdown_of_a_later_step_counts_from_the_step_before_it() -> None:
    chain(add.s(1, 1), add.s(1).set(countdown=60)).apply_async()
    run_jobs()
    job = Job.objects.get(state="scheduled")
    assert job.run_after
    assert 50 < (job.run_after - timezone.now()).total_seconds() <= 61
    run_all()
    assert not Job.objects.exclude(state="succeeded").exists()


def test_the_steps_behind_a_failure_have_failed_too() -> None:
    result = chain(add.s(1, 1), fail.si("bad"), note.s(), note.s()).apply_async()
    run_all()
    steps = [result, result.parent, result.parent.parent, result.parent.parent.parent]
    assert [step.state for step in steps] == ["FAILURE", "FAILURE", "FAILURE", "SUCCESS"]
    with pytest.raises(ValueError, match="bad"):
        result.get(timeout=1)


def test_the_body_of_a_chord_whose_header_fails_has_failed() -> None:
    result = chord([add.s(1, 1), fail.s("bad")], total.s()).apply_async()
    run_all()
    failed = Job.objects.get(state="failed")
    assert result.state == "FAILURE"
    assert str(result.result) == f"Dependency {failed.pk} raised ValueError('bad')"
    with pytest.raises(ValueError, match="bad"):
        result.get(timeout=1)
    assert tasks.SEEN == []


def test_the_options_of_a_chord_are_those_of_its_body() -> None:
    body = note.s()
    chord([add.s(1, 1), add.s(2, 2)])(body, queue="emails", link=note.si("link"))
    run_all()
    assert Job.objects.get(queue="emails").task.endswith(".note")
    assert tasks.SEEN == [(([2, 4],), {}), (("link",), {})]
    assert body.options == {}


def test_what_follows_a_whole_group_is_the_body_of_a_chord() -> None:
    for options in ({"link": note.s()}, {"link_error": note.s()}):
        with pytest.raises(TypeError, match="chord"):
            group(add.s(1, 1), add.s(2, 2)).apply_async(**options)
