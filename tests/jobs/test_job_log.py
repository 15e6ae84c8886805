"""The log of a job: what a task with log=True logs is kept with its attempt, and no more."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from django_bgtasks.core.payload import MASK
from django_bgtasks.jobs import job_log
from django_bgtasks.ledger.prune import prune_jobs
from django_bgtasks.ledger.times import after
from django_bgtasks.models import AttemptLog, Job
from django_bgtasks.testing import run_jobs, without_redis
from tests.app import logged
from tests.app.tasks import add

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def loggers_as_sites_have_them() -> Iterator[None]:
    """As without a LOGGING of one's own: the root lets nothing below a warning through."""
    root, silent = logging.getLogger(), logging.getLogger("shop.silent")
    disabled = logging.getLogger("shop.disabled")
    before = root.level
    root.setLevel(logging.WARNING)
    silent.propagate, disabled.disabled = False, True
    with without_redis():
        yield
    root.setLevel(before)
    silent.propagate, disabled.disabled = True, False


def run(result: Any) -> Job:
    run_jobs()
    return Job.objects.get(pk=result.id)


def texts(job: Any, attempt: int = 1) -> list[str]:
    found = AttemptLog.objects.filter(job=job.pk, attempt=attempt).first()
    return [line[-1] for line in found.lines] if found else []


def test_the_lines_of_a_task_are_kept_whether_it_succeeds_or_not() -> None:
    for fails in (False, True):
        job = run(logged.says.enqueue("one", "two\nlines", level="ERROR", fails=fails))
        assert job.state == ("failed" if fails else "succeeded")
        [row] = AttemptLog.objects.filter(job=job)
        assert [line[1:] for line in row.lines] == [
            ["ERROR", "shop.orders", "one"],
            ["ERROR", "shop.orders", "two\nlines"],
        ]
        assert row.lines[0][0].endswith("+00:00")
        assert row.left_out == 0


def test_any_logger_is_heard_from_info_on_but_what_is_disabled() -> None:
    job = run(logged.says_with_loggers.enqueue())
    *first, last = texts(job)
    assert first == ["root", "no propagation"]
    assert last.startswith("with its traceback\nTraceback (most recent call last)")
    assert last.endswith("LookupError: deep")


def test_what_other_handlers_get_stays_as_it_was(caplog: pytest.LogCaptureFixture) -> None:
    caplog.handler.setLevel(0)
    run(logged.says.enqueue("quiet"))
    run(logged.says.enqueue("loud", level="WARNING"))
    heard = [record.message for record in caplog.records if record.name == "shop.orders"]
    assert heard == ["loud"]
    assert not logging.getLogger("shop.orders").isEnabledFor(logging.INFO)


def test_afterwards_the_loggers_are_as_they_were() -> None:
    before = logging.Logger.isEnabledFor, logging.Logger.callHandlers
    run(logged.says.enqueue("heard", fails=True))
    assert (logging.Logger.isEnabledFor, logging.Logger.callHandlers) == before


def test_what_somebody_puts_around_a_logger_meanwhile_stays() -> None:
    heard: list[str] = []
    with job_log.JobLog(str):
        inner: Any = logging.Logger.callHandlers

        def outer(self: Any, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())
            inner(self, record)

        logging.Logger.callHandlers = outer  # type: ignore[method-assign]
    try:
        for _ in range(2):
            assert texts(run(logged.says.enqueue("once"))) == ["once"]
        assert logging.Logger.callHandlers is outer
        assert heard.count("once") == 2
    finally:
        logging.Logger.callHandlers = inner  # type: ignore[method-assign]
        with job_log.JobLog(str):
            """Nobody is around it any more: now it ends."""


def test_each_attempt_has_its_own_lines() -> None:
    job = run(logged.says_in_each_attempt.enqueue())
    assert [texts(job, n) for n in (1, 2, 3)] == [["attempt 1"], ["attempt 2"], ["attempt 3"]]


def test_an_attempt_that_was_given_back_has_the_lines_of_its_last_run() -> None:
    job = run(logged.says_and_waits.enqueue())
    Job.objects.filter(pk=job.pk).update(state="queued")
    run_jobs()
    assert texts(job) == ["later, please"]


def test_an_atomic_task_keeps_its_lines_also_if_it_is_rolled_back() -> None:
    for fails in (False, True):
        assert texts(run(logged.says_atomically.enqueue(fails))) == ["within"]


def test_the_last_lines_are_kept_and_the_others_counted() -> None:
    job = run(logged.says.enqueue(*map(str, range(250))))
    assert texts(job) == [str(number) for number in range(50, 250)]
    assert AttemptLog.objects.get(job=job).left_out == 50
    large = run(logged.says.enqueue(*(["x" * 20_000] * 12)))
    row = AttemptLog.objects.get(job=large)
    assert len(row.lines) + row.left_out == 12
    assert 40_000 < sum(len(line[-1]) for line in row.lines) <= 64 * 1024
    assert "characters left out" in row.lines[0][-1]


def test_what_no_database_stores_and_nothing_formats_harms_no_job() -> None:
    job = run(logged.says_hostile.enqueue())
    assert job.state == "succeeded", job.error
    fault = "<cannot be formatted: LookupError>"
    assert texts(job) == [
        "NUL \ufffd and ?",
        "%d <cannot be formatted: TypeError>",
        f"Wordless {fault}",
        f"%s {fault}",
    ]


def test_sensitive_arguments_are_masked_also_where_a_line_is_cut() -> None:
    job = run(logged.says_what_is_sensitive.enqueue("DE89370400440532013000"))
    first, cut = texts(job)
    assert first == f"paid {MASK}"
    assert "DE8" not in cut
    assert "3000" not in cut


def test_without_it_nothing_is_kept_and_nothing_is_asked() -> None:
    run(logged.says.enqueue("now this process listens"))
    job = run(logged.says_nothing.enqueue())
    assert not texts(job)
    add.enqueue(1, 2)
    with CaptureQueriesContext(connection) as queries:
        run_jobs()
    assert not any("attemptlog" in query["sql"] for query in queries)


def test_a_task_that_logs_nothing_has_no_row() -> None:
    run(logged.says.enqueue())
    assert not AttemptLog.objects.exists()


def test_an_option_keeps_the_lines_of_all_tasks_but_those_that_say_otherwise(
    settings: Settings,
) -> None:
    assert not texts(run(logged.says_by_option.enqueue()))
    options = {**settings.TASKS["default"].get("OPTIONS", {}), "log": True}
    settings.TASKS = {"default": {**settings.TASKS["default"], "OPTIONS": options}}
    assert texts(run(logged.says_by_option.enqueue())) == ["heard by option"]
    assert not texts(run(logged.says_nothing.enqueue()))


def test_a_thread_of_the_tasks_own_is_not_heard() -> None:
    assert texts(run(logged.says_from_threads.enqueue())) == ["in the task"]


def test_an_event_loop_of_the_tasks_own_is_heard() -> None:
    assert texts(run(logged.says_on_a_loop_of_its_own.enqueue())) == ["on a loop"]


def test_the_lines_go_with_their_job() -> None:
    for delete in (
        lambda: prune_jobs({"succeeded": logged.NOTHING}, ["default"], "default"),
        lambda: Job.objects.all().delete(),
    ):
        job = run(logged.says.enqueue("gone"))
        Job.objects.filter(pk=job.pk).update(finished_at=after(-logged.LONG))
        delete()
        assert not AttemptLog.objects.exists()
