"""Tasks that are written as Celery's, run by django_bgtasks."""

from __future__ import annotations

import copy
import importlib
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.utils import timezone

from django_bgtasks import RESULT, Every, chain, set_schedule
from django_bgtasks.contrib.celery import AsyncResult
from django_bgtasks.contrib.celery.exceptions import MaxRetriesExceededError
from django_bgtasks.contrib.celery.registry import TASKS
from django_bgtasks.models import Attempt, Job
from django_bgtasks.testing import assert_enqueued, assert_not_enqueued, run_jobs, without_redis
from tests.moving import celery_tasks as tasks

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def no_redis() -> Iterator[None]:
    tasks.SEEN.clear()
    with without_redis():
        yield


def run_all() -> None:
    """Run all jobs, those for later included."""
    while run_jobs() or Job.objects.filter(state="scheduled").update(run_after=timezone.now()):
        pass


def test_a_call_is_a_job_under_its_own_name_and_gives_its_result() -> None:
    result = tasks.add.delay(2, y=3)
    assert result.state == "PENDING"
    run_all()
    job = Job.objects.get()
    assert (job.task, job.args, job.kwargs) == ("tests.moving.celery_tasks.add", [2], {"y": 3})
    assert result.get(timeout=1) == 5
    assert AsyncResult(result.id).successful()


def test_three_retries_are_four_attempts() -> None:
    result = tasks.retrying.delay()
    run_all()
    assert tasks.SEEN == [0, 1, 2, 3]
    assert result.state == "FAILURE"
    with pytest.raises(ConnectionError, match="away"):
        result.get(timeout=1)


def test_a_plain_exception_fails_for_good() -> None:
    result = tasks.fail.delay("bad")
    run_all()
    assert Attempt.objects.count() == 1
    assert isinstance(result.result, ValueError)


@pytest.mark.parametrize(
    ("kind", "cls", "text"),
    [
        ("two arguments", tasks.TwoArguments, "7: bad"),
        ("of its own text", tasks.OwnText, "code 7"),
        ("by name", tasks.ByName, "bad"),
        ("of the system", tasks.OfSystem, "db:1"),
        ("key", KeyError, "'bad'"),
        ("unicode", UnicodeDecodeError, "invalid start byte"),
    ],
)
def test_an_exception_is_caught_by_its_class_whatever_that_takes(
    kind: str, cls: type[Exception], text: str
) -> None:
    result = tasks.raising.delay(kind)
    run_all()
    with pytest.raises(cls) as raised:
        result.get(timeout=1)
    assert text in str(raised.value)
    assert type(raised.value).__name__ == cls.__name__
    if cls is KeyError:
        assert raised.value.args == ("bad",)


def test_without_a_reason_it_fails_with_celerys_own_error() -> None:
    result = tasks.retrying_without_reason.delay()
    run_all()
    assert isinstance(result.result, MaxRetriesExceededError)


def test_a_retry_may_allow_more_than_the_definition() -> None:
    result = tasks.retrying_more_often.delay()
    run_all()
    assert tasks.SEEN == [0, 1, 2, 3, 4, 5]
    assert isinstance(result.result, KeyError)


def test_autoretry_waits_longer_each_time_and_not_for_what_is_excepted() -> None:
    tasks.fetch.delay("reset")
    run_all()
    assert tasks.SEEN == ["reset"] * 6
    tasks.SEEN.clear()
    tasks.fetch.delay("refused")
    tasks.fetch.delay("x")
    run_all()
    assert tasks.SEEN == ["refused", "x"]


def test_backoff_doubles_up_to_its_maximum() -> None:
    job_id = tasks.fetch.delay().id
    waits = []
    for _ in range(5):
        run_jobs()
        job = Job.objects.get(pk=job_id)
        assert job.run_after
        waits.append(round((job.run_after - timezone.now()).total_seconds()))
        Job.objects.update(run_after=timezone.now())
    assert waits == [1, 2, 4, 5, 5]


def test_a_bound_task_knows_its_call() -> None:
    result = tasks.describe.apply_async(
        (1,), {"b": 2}, headers={"trace": "t1"}, queue="emails", priority=4
    )
    run_all()
    found = result.get(timeout=1)
    assert found["id"] == found["current"] == result.id
    assert (found["args"], found["kwargs"]) == ([1], {"b": 2})
    assert (found["headers"], found["queue"], found["priority"]) == ({"trace": "t1"}, "emails", 4)
    assert (found["retries"], found["directly"], found["eager"]) == (0, False, False)
    assert found["name"] == "tests.moving.celery_tasks.describe"


def test_a_direct_call_is_a_call() -> None:
    assert tasks.add(1, 2) == 3
    found = tasks.describe(1)
    assert found["directly"] is True
    assert found["id"] is None


def test_the_hooks_of_a_base_class_are_called() -> None:
    tasks.hooked.delay("fine", more=1)
    run_all()
    assert tasks.SEEN == [
        ("before_start", ["fine"]),
        ("call", "hooked"),
        ("on_success", "fine", {"more": 1}),
        ("after_return", "SUCCESS"),
    ]
    tasks.SEEN.clear()
    tasks.hooked.delay("fail")
    run_all()
    assert tasks.SEEN[2:] == [
        ("on_failure", "LookupError('gone')", ["fail"], True),
        ("after_return", "FAILURE"),
    ]
    tasks.SEEN.clear()
    tasks.hooked.delay("retry")
    run_all()
    assert tasks.SEEN[2] == ("on_retry", "OSError('again')")
    assert ("after_return", "RETRY") not in tasks.SEEN
    assert tasks.SEEN[-2:] == [
        ("on_failure", "OSError('again')", ["retry"], True),
        ("after_return", "FAILURE"),
    ]


def test_ignore_and_reject_end_a_task_without_a_result() -> None:
    for how in ("ignore", "reject"):
        result = tasks.stopping.delay(how)
        run_all()
        assert result.state == "REVOKED"


def test_a_state_of_failure_that_a_task_sets_itself_is_kept() -> None:
    result = tasks.stopping.delay("failed")
    run_all()
    assert result.state == "FAILURE"
    assert "by hand" in str(result.result)


def test_a_state_of_its_own_is_seen_while_it_runs() -> None:
    result = tasks.stopping.delay("progress")
    run_all()
    assert tasks.SEEN == [("PROGRESS", {"current": 3, "total": 10})]
    assert result.get(timeout=1) == "done"
    assert Job.objects.get().progress_total == 10


def test_the_soft_limit_is_an_exception_that_a_task_can_catch() -> None:
    result = tasks.slow.delay()
    run_all()
    assert result.get(timeout=1) == "cleaned up"


def test_a_retry_may_change_the_arguments() -> None:
    result = tasks.again_with.delay(1)
    run_all()
    assert result.get(timeout=1) == 6


def test_the_options_of_a_definition_are_those_of_its_jobs() -> None:
    tasks.renamed.delay()
    job = Job.objects.get()
    assert (job.queue, job.priority) == ("emails", 7)
    assert job.expires_at is not None
    assert tasks.renamed.name == "shop.renamed"
    run_all()
    assert AsyncResult(job.pk).name == "shop.renamed"


def test_a_link_gets_the_result_and_an_errback_the_failure() -> None:
    tasks.add.apply_async((2, 2), link=[tasks.note.s("linked"), tasks.note.si("alone")])
    run_all()
    assert sorted(tasks.SEEN, key=repr) == [(("alone",), {}), ((4, "linked"), {})]
    tasks.SEEN.clear()
    result = tasks.fail.apply_async(("bad",), link=tasks.note.s(), link_error=tasks.report.s())
    run_all()
    assert [("errback", result.id, "ValueError('bad')", True)] == tasks.SEEN
    tasks.SEEN.clear()
    result = tasks.fail.apply_async(link_error=tasks.report_id.s())
    run_all()
    assert [("errback", result.id)] == tasks.SEEN


def test_a_task_that_is_a_class_is_found_by_its_class() -> None:
    result = tasks.counting.delay(1)
    other = tasks.Counting().apply_async((2,))
    assert Job.objects.first().task == "tests.moving.celery_tasks.Counting"  # type: ignore[union-attr]
    failing = tasks.counting.delay(-1)
    run_all()
    assert (result.get(timeout=1), other.get(timeout=1), failing.state) == (2, 3, "FAILURE")


def test_an_argument_may_be_named_as_what_goes_with_a_call() -> None:
    result = tasks.with_request.apply_async((), {"_request": "mine"}, headers={"a": 1})
    run_all()
    assert result.get(timeout=1) == ["mine", {"a": 1}]


def test_a_task_is_pickled_by_its_name() -> None:
    for task in (tasks.add, tasks.renamed, tasks.hooked, tasks.counting):
        assert pickle.loads(pickle.dumps(task)) is task
        assert copy.deepcopy(task) is task


def test_a_pickled_task_is_found_by_a_process_that_has_not_imported_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source = Path(__file__).with_name("celery_included.py").read_text()
    (tmp_path / "pickled_tasks.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    pickled = pickle.dumps(importlib.import_module("pickled_tasks").included)
    TASKS.unregister("pickled_tasks.included")
    del sys.modules["pickled_tasks"]
    try:
        assert pickle.loads(pickled).name == "pickled_tasks.included"
    finally:
        TASKS.unregister("pickled_tasks.included")
        del sys.modules["pickled_tasks"]


def test_a_task_does_not_wait_for_another_one() -> None:
    result = tasks.waiting.delay("now")
    allowed = tasks.waiting.delay("allowed")
    run_all()
    assert "Never call result.get()" in str(result.result)
    assert "timed out" in str(allowed.result)


def test_what_is_ours_takes_a_moved_task_too() -> None:
    tasks.add.delay(1, y=2)
    assert_enqueued(tasks.add, args=[1], kwargs={"y": 2})
    assert_not_enqueued(tasks.total)
    flow = chain(tasks.add.using(priority=5).step(1, 2), tasks.add.using().step(RESULT, 3))
    handle = flow.enqueue()
    row = set_schedule("moved", tasks.add.background_task, Every(minutes=5), args=[1, 2])
    run_all()
    assert (handle.result, row.task) == (6, tasks.add.path)
