"""Jobs that run in the process that enqueues them: after its commit, claimed, without Redis."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
import redis
from asgiref.sync import async_to_sync
from django.core import checks
from django.core.management import call_command
from django.db import OperationalError, connection, connections, transaction
from django.test import Client, TestCase
from django.utils import translation
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from django_bgtasks import (
    BackgroundTask,
    JobCancelled,
    Middleware,
    add_middleware,
    remove_middleware,
    retry_job,
    run_job_now,
)
from django_bgtasks.core import clock
from django_bgtasks.core.compat import InvalidTask
from django_bgtasks.jobs.actions import pause_queue
from django_bgtasks.ledger.lifecycle import claim
from django_bgtasks.ledger.workers import INLINE_GRACE, INLINE_WORKER
from django_bgtasks.models import Job
from django_bgtasks.sandbox.call import _is_cancelled, confirm_cancellation, deadline
from django_bgtasks.testing import inline_jobs, run_jobs
from django_bgtasks.worker.maintenance import rescue
from tests.app.models import Note
from tests.app.tasks import fail
from tests.named import waiting_in

from . import inline_tasks as tasks

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def _inline(settings: Settings, redis_client: redis.Redis) -> Iterator[None]:
    """The site's mode is inline; no message is sent."""
    set_mode(settings, "inline")
    yield
    assert redis_client.keys("*") == []


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    tasks.SEEN.clear()


def name_of(value: Any) -> str:
    return value.name if isinstance(value, BackgroundTask) else str(value)


in_inline_mode = pytest.mark.usefixtures("_inline")


def set_mode(settings: Settings, mode: str) -> None:
    entry = settings.TASKS["default"]
    settings.TASKS = {"default": {**entry, "OPTIONS": {**entry["OPTIONS"], "mode": mode}}}


def row(result: Any) -> Job:
    return Job.objects.get(pk=result.id)


@in_inline_mode
def test_without_a_transaction_a_job_has_run_when_enqueue_returns() -> None:
    result = tasks.note.enqueue("hello")
    assert result.return_value == "hello"
    job = row(result)
    assert (job.state, job.attempt, job.claims) == ("succeeded", 1, 1)
    assert job.started_at is not None
    assert Note.objects.get().text == "hello"


@in_inline_mode
def test_in_a_transaction_a_job_runs_after_the_commit_and_its_result_is_brought_up_to_date() -> (
    None
):
    with transaction.atomic():
        first = tasks.looks_around.enqueue()
        Note.objects.create(text="of the view")
        assert (first.is_finished, row(first).state) == (False, "queued")
    assert first.return_value["notes"] == 1
    assert first.return_value["in_transaction"] is False


@in_inline_mode
def test_a_job_that_is_rolled_back_never_runs() -> None:
    with transaction.atomic():
        tasks.note.enqueue("kept")
        savepoint = connection.savepoint()
        assert savepoint is not None
        tasks.note.enqueue("rolled back")
        connection.savepoint_rollback(savepoint)
        with suppress(LookupError), transaction.atomic():
            tasks.note.enqueue("rolled back, too")
            raise LookupError
    assert [note.text for note in Note.objects.all()] == ["kept"]
    assert Job.objects.count() == 1


@in_inline_mode
def test_jobs_of_a_transaction_run_in_the_order_in_which_they_were_enqueued() -> None:
    with transaction.atomic():
        results = [tasks.note.using(priority=p).enqueue(str(p)) for p in (0, 50, -5)]
        many = tasks.note.enqueue_many([("a",), {"text": "b"}])
    assert [note.text for note in Note.objects.order_by("pk")] == ["0", "50", "-5", "a", "b"]
    assert [result.return_value for result in (*results, *many)] == ["0", "50", "-5", "a", "b"]


@in_inline_mode
def test_what_a_task_raises_is_in_its_job_and_does_not_reach_the_caller() -> None:
    result = fail.enqueue("no")
    assert result.status == "FAILED"
    assert (row(result).state, row(result).error) == ("failed", "ValueError: no")
    gives_up = tasks.gives_up.enqueue()
    assert (row(gives_up).state, row(gives_up).error_code) == ("failed", "give_up")
    with transaction.atomic():
        fail.enqueue("later")
    assert Job.objects.filter(state="failed").count() == 3


@in_inline_mode
def test_a_retry_without_delay_follows_at_once() -> None:
    result = tasks.works_the_third_time.enqueue()
    assert result.return_value == 3
    assert result.attempts == 3
    assert row(result).attempts.count() == 2


@in_inline_mode
def test_what_is_for_later_waits_for_a_worker_and_says_so(
    caplog: pytest.LogCaptureFixture, make_due: Callable[[], None]
) -> None:
    caplog.set_level("INFO", "django_bgtasks")
    result = tasks.fails_and_waits.enqueue()
    assert (row(result).state, row(result).attempt) == ("scheduled", 1)
    assert "waits for its next attempt, which is a worker's" in caplog.text
    postponed = tasks.asks_for_later.enqueue(0)
    assert (row(postponed).state, tasks.SEEN) == ("queued", [1])
    planned = tasks.note.using(run_after=clock.now() + timedelta(hours=1)).enqueue("later")
    assert row(planned).state == "scheduled"
    make_due()
    run_jobs()
    states = [row(each).state for each in (result, postponed, planned)]
    assert states == ["failed", "succeeded", "succeeded"]


@in_inline_mode
def test_a_job_whose_time_has_come_is_not_for_later() -> None:
    past = clock.now() - timedelta(seconds=1)
    assert tasks.note.using(run_after=past).enqueue("due").return_value == "due"
    with transaction.atomic():
        results = tasks.note.using(run_after=past).enqueue_many([("a",), ("b",)])
    assert [result.return_value for result in results] == ["a", "b"]


@in_inline_mode
def test_a_job_has_the_arguments_of_its_row_and_not_the_callers_objects() -> None:
    mine = {"list": [1]}
    assert tasks.changes_its_argument.enqueue(mine).return_value == {"list": [1, 2]}
    assert mine == {"list": [1]}


@in_inline_mode
def test_what_a_person_begins_again_runs_inline_too() -> None:
    planned = tasks.note.using(run_after=clock.now() + timedelta(hours=1)).enqueue("now")
    assert run_job_now(planned.id).state == "succeeded"
    failed = tasks.fails_and_waits.enqueue()
    assert run_job_now(failed.id, by="ada").state == "failed"
    assert retry_job(failed.id).attempt == 3


def test_a_job_can_be_inline_by_its_call_or_its_definition(redis_client: redis.Redis) -> None:
    result = tasks.note.using(inline=True).enqueue("hello")
    assert result.return_value == "hello"
    assert tasks.always_inline.enqueue("always").return_value == "always"
    assert tasks.works_the_third_time.using(inline=True).enqueue().return_value == 3
    assert redis_client.keys("*") == []
    queued = tasks.always_inline.using(inline=False).enqueue("by a worker")
    assert row(queued).state == "queued"
    assert redis_client.keys("*") != []


def test_a_call_that_is_inline_and_for_later_is_refused() -> None:
    later = clock.now() + timedelta(hours=1)
    with pytest.raises(InvalidTask, match="note: a job with run_after waits for"):
        tasks.note.using(inline=True, run_after=later)
    with pytest.raises(InvalidTask, match="inline is True or False, not 'yes'"):
        tasks.note.using(inline="yes")


@pytest.mark.parametrize("mode", ["inlined", "", None, True])
def test_an_unknown_mode_is_an_error_of_the_checks(settings: Settings, mode: Any) -> None:
    set_mode(settings, mode)
    [error] = [found for found in checks.run_checks(tags=["bgtasks"]) if found.id == "bgtasks.E002"]
    assert error.msg == (
        f"TASKS['default']['OPTIONS']['mode'] must be 'workers' or 'inline', not {mode!r}."
    )


@in_inline_mode
def test_a_job_sees_nothing_of_its_callers_context() -> None:
    with translation.override("de"):
        seen = tasks.looks_around.enqueue().return_value
    assert (seen["language"], seen["attempt"]) == ("en-us", 1)


@in_inline_mode
def test_a_job_that_a_job_enqueues_has_run_when_enqueue_returns_there() -> None:
    assert tasks.uses_its_child.enqueue(20).return_value == 41
    assert Job.objects.filter(state="succeeded").count() == 2


@in_inline_mode
def test_a_long_chain_of_jobs_does_not_use_up_the_stack() -> None:
    assert tasks.enqueues.enqueue(120).is_finished
    assert list(range(120, -1, -1)) == tasks.SEEN
    assert Job.objects.exclude(state="succeeded").count() == 0


@in_inline_mode
def test_what_an_atomic_task_enqueues_runs_after_its_commit() -> None:
    result = tasks.writes_and_enqueues.enqueue("it")
    assert row(result).state == "succeeded"
    assert tasks.SEEN == [False]
    assert [note.text for note in Note.objects.order_by("pk")] == ["it", "after it"]


@in_inline_mode
def test_a_coroutine_enqueues_and_is_enqueued_while_an_event_loop_runs() -> None:
    async def view() -> Any:
        first = await tasks.awaits.aenqueue("first")
        return first, await tasks.note.aenqueue("second")

    first, second = async_to_sync(view)()
    assert (first.return_value, second.return_value) == ("first", "second")
    assert tasks.awaits.enqueue("from a function").return_value == "from a function"
    assert {job.state for job in Job.objects.all()} == {"succeeded"}
    assert Note.objects.count() == 5


@in_inline_mode
def test_a_live_job_stands_for_its_duplicate_and_a_final_one_does_not() -> None:
    keyed = tasks.note.using(dedup_key="key:{text}")
    with transaction.atomic():
        first = keyed.enqueue("a")
        second = keyed.enqueue("a")
        assert (second.id, second.deduplicated) == (first.id, True)
    assert (first.return_value, second.return_value) == ("a", "a")
    assert Note.objects.count() == 1
    assert not keyed.enqueue("a").deduplicated
    debounced = keyed.using(dedup_key="one", on_duplicate="replace")
    with transaction.atomic():
        debounced.enqueue("old")
        debounced.enqueue("new")
    assert Note.objects.latest("pk").text == "new"
    assert Note.objects.count() == 3


@in_inline_mode
def test_a_paused_queue_holds_inline_jobs_too(caplog: pytest.LogCaptureFixture) -> None:
    pause_queue("default")
    result = tasks.note.enqueue("hello")
    assert (row(result).state, Note.objects.count()) == ("queued", 0)
    assert "waits: its queue default is paused." in caplog.text


@in_inline_mode
def test_what_a_worker_has_claimed_first_does_not_run_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "django_bgtasks")
    with transaction.atomic():
        transaction.on_commit(
            lambda: claim(Job.objects.get().pk, clock.new_id(), "default") and None
        )
        result = tasks.note.enqueue("hello")
    assert (result.status, Note.objects.count()) == ("RUNNING", 0)
    assert "was to run inline, and somebody else has it." in caplog.text


@pytest.mark.parametrize("task", [tasks.takes_too_long, tasks.awaits_too_long], ids=name_of)
@pytest.mark.parametrize("where", ["main thread", "thread"])
@in_inline_mode
def test_a_timeout_ends_a_job(task: BackgroundTask[..., None], where: str) -> None:
    def run() -> Any:
        try:
            return task.enqueue()
        finally:
            connections.close_all()

    if where == "thread":
        with ThreadPoolExecutor(1) as pool:
            result = pool.submit(run).result()
    else:
        result = run()
    assert (row(result).state, row(result).error_code) == ("failed", "timeout")


@in_inline_mode
def test_the_time_of_a_job_goes_on_after_one_within_it() -> None:
    result = tasks.sleeps_within_its_own_time.using(timeout=1.0).enqueue()
    assert row(result).error_code == "timeout"
    assert {job.error_code for job in Job.objects.all()} == {"timeout"}


@pytest.mark.usefixtures("redis_client")
@pytest.mark.parametrize("in_thread", [False, True])
def test_the_time_of_a_job_that_ends_while_another_runs_within_it_is_up_after_that(
    in_thread: bool,
) -> None:
    parent = tasks.has_less_time_than_its_child.enqueue()

    def run() -> None:
        try:
            run_jobs(limit=1)
        except RuntimeError:
            # What is left is a worker's.
            pass
        finally:
            connections.close_all()

    if in_thread:
        with ThreadPoolExecutor() as pool:
            pool.submit(run).result()
    else:
        run()
    job = row(parent)
    assert (job.state, job.error_code, job.attempt) == ("failed", "timeout", 1)
    children = Job.objects.exclude(pk=job.pk).order_by("pk")
    assert [(one.state, one.claims) for one in children] == [("succeeded", 1), ("queued", 0)]
    assert tasks.SEEN == ["begins"]


def test_a_cancellation_is_of_the_job_that_a_worker_runs_and_not_of_one_within_it() -> None:
    confirm_cancellation(lambda: True)
    try:
        with pytest.raises(JobCancelled):
            deadline(30).run(tasks.cancels_who_runs_it.using(inline=True).enqueue)
    finally:
        _is_cancelled.clear()
    assert Job.objects.get().state == "succeeded"


@in_inline_mode
def test_what_keeps_jobs_from_running_inline_is_logged_and_not_raised(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*args: Any) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr("django_bgtasks.jobs.inline.paused_by", away)
    with transaction.atomic():
        result = tasks.note.enqueue("hello")
    assert "left to workers" in caplog.text
    assert row(result).state == "queued"


@in_inline_mode
def test_a_timer_of_the_caller_goes_on() -> None:
    rang = threading.Event()
    before = signal.signal(signal.SIGALRM, lambda *_: rang.set())
    # That of pytest-timeout, say.
    others = signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        tasks.note.enqueue("hello")
        assert rang.wait(10)
    finally:
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, *others)


@in_inline_mode
def test_ctrl_c_reaches_the_caller_and_leaves_no_job_claimed() -> None:
    with pytest.raises(KeyboardInterrupt):
        tasks.is_interrupted.enqueue()
    assert (Job.objects.get().state, Job.objects.get().attempt) == ("queued", 0)
    with pytest.raises(KeyboardInterrupt):
        tasks.is_interrupted_only_once.enqueue()
    assert Job.objects.latest("pk").state == "failed"


def test_after_ctrl_c_what_has_not_ended_is_left_to_workers(redis_client: redis.Redis) -> None:
    with pytest.raises(KeyboardInterrupt), transaction.atomic():
        tasks.is_interrupted.using(inline=True).enqueue_many([(), (), ()])
    assert [job.state for job in Job.objects.all()] == ["queued"] * 3
    assert redis_client.llen(waiting_in("default")) == 3
    assert tasks.always_inline.enqueue("goes on").return_value == "goes on"


@in_inline_mode
def test_a_job_that_has_expired_by_the_commit_is_cancelled_and_told_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told: list[Any] = []

    class Listens(Middleware):
        def on_outcome(self, context: Any, outcome: Any) -> None:
            told.append((str(context.job_id), context.job.error_code))

    listens = Listens()
    add_middleware(listens)
    try:
        with transaction.atomic():
            result = tasks.note.using(expires=60).enqueue("too late")
            other = tasks.note.using(expires=60, run_after=clock.now()).enqueue("too late, too")
            Job.objects.update(expires_at=clock.now() - timedelta(seconds=1))
    finally:
        remove_middleware(listens)
    assert [row(one).error_code for one in (result, other)] == ["expired"] * 2
    assert (result.is_finished, result.job.state) == (True, "cancelled")
    assert told == [(result.id, "expired"), (other.id, "expired")]
    assert not Note.objects.exists()
    assert "somebody else" not in caplog.text


@in_inline_mode
def test_a_job_that_runs_inline_is_nobodys_orphan_until_its_time_is_over() -> None:
    with transaction.atomic():
        tasks.note.using(timeout=30).enqueue("hello")
        job = Job.objects.get()
        claimed = claim(job.pk, INLINE_WORKER, "default")
        assert claimed is not None
    assert rescue.rescue("default") == 0
    assert Job.objects.get().state == "running"
    late = clock.now() - timedelta(seconds=30 + INLINE_GRACE + 1)
    Job.objects.update(started_at=late)
    assert rescue.rescue("default") == 1
    assert [attempt.outcome for attempt in job.attempts.all()] == ["crash"]


@in_inline_mode
def test_who_ran_a_job_inline_is_said_on_its_page_and_in_its_result(admin_client: Client) -> None:
    result = tasks.works_the_third_time.enqueue()
    html = admin_client.get(f"/admin/django_bgtasks/job/{result.id}/change/").content.decode()
    # In its fields, and for each attempt.
    assert html.count("The process that enqueued it (inline)") == 4
    assert str(INLINE_WORKER) not in html
    assert result.worker_ids == ["inline"] * 3


@in_inline_mode
@pytest.mark.parametrize("page", ["job/", "worker/", "dashboard/", "dashboard/queue/?name=default"])
def test_no_page_asks_for_a_worker_that_nobody_needs(admin_client: Client, page: str) -> None:
    html = admin_client.get(f"/admin/django_bgtasks/{page}").content.decode()
    assert "No worker" not in html
    assert page in ("job/", "worker/") or "The mode is inline" in html


@in_inline_mode
def test_bgstatus_asks_for_no_worker_that_nobody_needs() -> None:
    out = StringIO()
    call_command("bgstatus", stdout=out)
    assert "The mode is inline" in out.getvalue()
    # For jobs for later, among the problems.
    assert out.getvalue().count("bgworker") == 1


@in_inline_mode
def test_the_callers_connection_is_as_old_as_before(settings: Settings) -> None:
    connection.ensure_connection()
    connection.close_at = clock.monotonic()
    tasks.note.enqueue("hello")
    assert connection.close_at is not None


@pytest.mark.django_db(transaction=False)
def test_the_test_kit_runs_jobs_inline_after_captured_commits(
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    with inline_jobs():
        with django_capture_on_commit_callbacks() as callbacks:
            result = tasks.note.enqueue("hello")
        assert (len(callbacks), row(result).state) == (1, "queued")
        with django_capture_on_commit_callbacks(execute=True):
            done = tasks.awaits.enqueue("a")
            assert not done.is_finished
        assert done.return_value == "a"
    assert [note.text for note in Note.objects.order_by("pk")] == ["a", "child of a"]


def test_the_test_kit_raises_what_a_task_raises_where_it_is_asked_to() -> None:
    with inline_jobs(propagate=True), pytest.raises(ValueError, match="no"):
        fail.enqueue("no")
    with inline_jobs(propagate=True), pytest.raises(LookupError):  # noqa: SIM117
        with transaction.atomic():
            tasks.fails_and_waits.enqueue()
    assert [job.state for job in Job.objects.order_by("pk")] == ["failed", "scheduled"]
    with inline_jobs(propagate=True):
        assert tasks.works_the_third_time.enqueue().return_value == 3
        with inline_jobs():
            fail.enqueue("not raised")
    assert row(tasks.note.enqueue("by a worker")).state == "queued"


@inline_jobs()
def decorated() -> Any:
    return tasks.note.enqueue("hello").return_value


def test_the_test_kit_decorates_functions_and_test_cases() -> None:
    assert decorated() == "hello"

    class Cases(TestCase):
        def test_inline(self) -> None:
            with self.captureOnCommitCallbacks(execute=True):
                result = tasks.note.enqueue("hello")
            assert result.return_value == "hello"

    outcome = inline_jobs()(Cases)("test_inline").run()
    assert outcome is not None
    assert outcome.wasSuccessful()
