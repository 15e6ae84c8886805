"""Tests of Celery's kind: calls that run at once, and mocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
from django.db import transaction
from django.test import TestCase, override_settings

from django_bgtasks import InvalidArguments
from django_bgtasks.contrib.celery import (
    Celery,
    EagerResult,
    chain,
    chord,
    group,
    shared_task,
)
from django_bgtasks.contrib.celery.conf import OVERRIDES
from django_bgtasks.contrib.celery.exceptions import Retry
from django_bgtasks.contrib.celery.registry import APPS
from django_bgtasks.core.compat import InvalidTask
from django_bgtasks.models import Job
from tests.moving import celery_tasks as tasks

EAGER = override_settings(CELERY_TASK_ALWAYS_EAGER=True)
RAISING = override_settings(CELERY_TASK_ALWAYS_EAGER=True, CELERY_TASK_EAGER_PROPAGATES=True)


@EAGER
class EagerTests(TestCase):
    """With CELERY_TASK_ALWAYS_EAGER."""

    def setUp(self) -> None:
        """Nothing was seen."""
        tasks.SEEN.clear()

    def test_a_call_runs_at_once_in_the_transaction_of_the_test(self) -> None:
        result = tasks.add.delay(1, 2)
        assert isinstance(result, EagerResult)
        assert (result.state, result.get(), result.ready()) == ("SUCCESS", 3, True)
        assert not Job.objects.exists()

    def test_a_failure_is_in_the_result(self) -> None:
        result = tasks.fail.delay("bad")
        assert result.failed()
        assert "bad" in (result.traceback or "")
        with pytest.raises(ValueError, match="bad"):
            result.get()
        assert isinstance(result.get(propagate=False), ValueError)

    def test_with_propagates_it_is_raised(self) -> None:
        with RAISING, pytest.raises(ValueError, match="bad"):
            tasks.fail.delay("bad")

    def test_retries_are_made_at_once(self) -> None:
        assert tasks.retrying.delay(until=2).get() == 2
        assert tasks.SEEN == [0, 1, 2]
        tasks.SEEN.clear()
        assert tasks.retrying.delay().failed()
        assert tasks.SEEN == [0, 1, 2, 3]

    def test_with_propagates_the_first_retry_is_raised(self) -> None:
        with RAISING, pytest.raises(Retry) as raised:
            tasks.retrying.delay()
        assert isinstance(raised.value.exc, ConnectionError)
        assert tasks.SEEN == [0]
        tasks.SEEN.clear()
        with pytest.raises(Retry) as raised:
            tasks.fetch.apply(throw=True)
        assert isinstance(raised.value.exc, ConnectionResetError)
        assert tasks.SEEN == ["reset"]
        with pytest.raises(ConnectionError, match="away"):
            tasks.retrying.apply(retries=3, throw=True)

    def test_a_failure_within_a_canvas_is_raised(self) -> None:
        add, fail = tasks.add, tasks.fail
        after = chord([add.s(1, 2), fail.si("bad")])
        acts: list[Callable[[], Any]] = [
            chain(fail.s("bad"), add.s(3)),
            chain(fail.s("bad"), add.s(3)).delay,
            lambda: chain(fail.s("bad"), add.s(3)).apply_async(link_error=tasks.report.s()),
            chain(add.s(1, 2), fail.si("bad"), add.s(1)).apply,
            chain(group(add.s(1, 2), fail.si("bad")), tasks.total.s()),
            lambda: after(tasks.total.s()),
            chord([fail.si("bad")], tasks.total.s()).apply,
        ]
        for act in acts:
            with pytest.raises(ValueError, match="bad"):
                act()
        assert [each[0] for each in tasks.SEEN] == ["errback"]

    def test_a_failure_at_the_end_of_a_canvas_is_in_its_result(self) -> None:
        for result in (
            chain(tasks.add.s(1, 2), tasks.fail.si("bad"))(),
            chord([tasks.add.s(1, 2)])(tasks.fail.si("bad")),
            group(tasks.add.s(1, 2), tasks.fail.si("bad"))(),
        ):
            assert result.failed()

    def test_the_arguments_are_as_a_worker_gets_them(self) -> None:
        with pytest.raises(InvalidArguments):
            tasks.note.delay(object())
        with pytest.raises(TypeError):
            tasks.add.delay(1)

    def test_a_bound_task_knows_that_it_is_eager(self) -> None:
        found = tasks.describe.apply_async((1,), headers={"a": 1}).get()
        assert (found["eager"], found["directly"], found["headers"]) == (True, False, {"a": 1})

    def test_a_canvas_runs_at_once(self) -> None:
        assert chain(tasks.add.s(1, 1), tasks.add.s(2))().get() == 4
        assert group(tasks.add.s(1, 1), tasks.add.s(2, 2))().get() == [2, 4]
        assert chord([tasks.add.s(1, 1), tasks.add.s(2, 2)])(tasks.total.s()).get() == 6
        assert (tasks.add.s(1, 1) | tasks.add.s(1)).delay().get() == 3

    def test_links_and_errbacks_follow_at_once(self) -> None:
        tasks.add.apply_async((1, 1), link=tasks.note.s())
        tasks.fail.apply_async(("bad",), link_error=tasks.report.s())
        assert tasks.SEEN[0] == ((2,), {})
        assert tasks.SEEN[1][2] == "ValueError('bad')"

    def test_what_waits_for_the_commit_runs_after_it(self) -> None:
        with self.captureOnCommitCallbacks(execute=True):
            tasks.note.delay_on_commit("later")
            assert tasks.SEEN == []
        assert tasks.SEEN == [(("later",), {})]

    def test_what_waits_for_a_commit_that_does_not_come_never_runs(self) -> None:
        with transaction.atomic():
            tasks.note.delay_on_commit("never")
            transaction.set_rollback(True)
        assert tasks.SEEN == []

    def test_the_hooks_are_called(self) -> None:
        tasks.hooked.delay("fail")
        names = [each[0] for each in tasks.SEEN]
        assert names == ["before_start", "call", "on_failure", "after_return"]


class MockTests(TestCase):
    """Mocks of what sends a task."""

    @mock.patch("tests.moving.celery_tasks.add.delay")
    def test_delay(self, delay: Any) -> None:
        tasks.add.delay(1, y=2)
        delay.assert_called_once_with(1, y=2)

    @mock.patch.object(tasks.add, "apply_async")
    def test_apply_async_is_behind_delay_and_signatures(self, apply_async: Any) -> None:
        tasks.add.delay(1, y=2)
        apply_async.assert_called_with((1,), {"y": 2})
        tasks.add.s(1).apply_async(countdown=3)
        apply_async.assert_called_with((1,), {}, countdown=3)
        tasks.add.apply_async(args=(1, 2), countdown=5)
        apply_async.assert_called_with(args=(1, 2), countdown=5)

    def test_a_mock_of_delay_is_called_after_the_commit(self) -> None:
        with mock.patch.object(tasks.add, "delay") as delay:
            with self.captureOnCommitCallbacks(execute=True):
                tasks.add.delay_on_commit(1, 2)
                delay.assert_not_called()
            delay.assert_called_once_with(1, 2)

    def test_the_class_can_be_mocked(self) -> None:
        with mock.patch("django_bgtasks.contrib.celery.app.task.Task.apply_async") as apply_async:
            tasks.add.delay(1, 2)
        apply_async.assert_called_once_with((1, 2), {})

    def test_a_retry_can_be_mocked(self) -> None:
        with mock.patch.object(tasks.retrying, "retry", side_effect=Retry), pytest.raises(Retry):
            tasks.retrying(until=1)

    def test_run_is_the_function(self) -> None:
        assert tasks.add.run(1, 2) == 3
        assert tasks.retrying.run(until=0) == 0

    def test_a_pushed_request_is_the_request(self) -> None:
        tasks.describe.push_request(id="t1", retries=2)
        try:
            assert tasks.describe.request.retries == 2
            assert tasks.describe.run()["id"] == "t1"
        finally:
            tasks.describe.pop_request()

    def test_a_call_without_a_worker_is_called_directly(self) -> None:
        with pytest.raises(ConnectionError, match="away"):
            tasks.retrying(until=1)


@EAGER
class LocalTests(TestCase):
    """Tasks that a test defines for itself."""

    def test_a_task_within_a_function(self) -> None:
        @shared_task(bind=True)
        def local(self: Any, number: int) -> Any:
            return self.name, number

        assert local.delay(3).get()[1] == 3
        assert local.apply((4,)).get()[1] == 4
        with override_settings(CELERY_TASK_ALWAYS_EAGER=False), pytest.raises(InvalidTask):
            local.delay(3)

    def test_settings_of_before(self) -> None:
        app = Celery("other")
        try:
            app.conf.update(CELERY_ALWAYS_EAGER=False)
            assert app.conf.task_always_eager is False
            app.conf["CELERY_TASK_EAGER_PROPAGATES"] = True
            with override_settings(CELERY_TASK_ALWAYS_EAGER=True):
                assert app.conf.task_eager_propagates is True
        finally:
            APPS.remove(app)
            OVERRIDES.clear()
