"""Middleware: what is called around a job, where, and what harm it can do."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from django_bgtasks import Middleware, add_middleware, remove_middleware
from django_bgtasks.core import clock
from django_bgtasks.core.outcomes import DeathCause
from django_bgtasks.jobs import execute
from django_bgtasks.jobs.actions import cancel_job
from django_bgtasks.jobs.execute import run_claimed
from django_bgtasks.jobs.middleware import middleware_of
from django_bgtasks.ledger.lifecycle import claim
from django_bgtasks.models import Attempt, Job
from django_bgtasks.testing import run_jobs, without_redis
from django_bgtasks.worker.maintenance import rescue
from django_bgtasks.worker.maintenance.dead_processes import Death, settle_death
from tests.app import tasks as plain
from tests.interfaces.rows import make_job
from tests.waiting import patience
from tests.workers import WorkerFactory

from . import tasks

Add = Callable[[Middleware], None]
PATH = "tests.jobs.middleware"
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("no_middleware")]
each_kind = pytest.mark.parametrize("task", [plain.add, tasks.aadd], ids=["function", "coroutine"])


@pytest.fixture
def add() -> Iterator[Add]:
    """`add(middleware)` for the time of the test."""
    added: list[Middleware] = []

    def add_one(middleware: Middleware) -> None:
        added.append(middleware)
        add_middleware(middleware)

    yield add_one
    for middleware in added:
        remove_middleware(middleware)


class Noting(Middleware):
    """Notes what it is called for."""

    def __init__(self, calls: list[Any], name: str = "") -> None:
        self.calls, self.name = calls, name

    @contextmanager
    def around(self, context: Any) -> Iterator[None]:
        """Note both ends."""
        self.calls.append(f"{self.name}before")
        try:
            yield
        finally:
            self.calls.append(f"{self.name}after")

    def on_outcome(self, context: Any, outcome: Any) -> None:
        """Note what the attempt came to."""
        self.calls.append((context.job.state, context.exception, outcome.failure))


class Refusing(Middleware):
    """Refuses all jobs."""

    def on_enqueue(self, jobs: Sequence[Job]) -> None:
        """Raise."""
        raise PermissionError([job.args for job in jobs])


class Failing(Middleware):
    """Raises where it may not."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def on_outcome(self, context: Any, outcome: Any) -> None:
        """Raise."""
        raise self.error


class Raising(Middleware):
    """Raises before the task begins."""

    @contextmanager
    def around(self, context: Any) -> Iterator[None]:
        """Raise in place of the yield."""
        if context.job:
            raise LookupError("no tenant")
        yield


class Hanging(Middleware):
    """Takes longer than the task may take."""

    @contextmanager
    def around(self, context: Any) -> Iterator[None]:
        """Sleep."""
        time.sleep(5)
        yield

    @asynccontextmanager
    async def aaround(self, context: Any) -> AsyncIterator[None]:
        """Wait."""
        await asyncio.sleep(5)
        yield


def test_what_on_enqueue_raises_is_raised_to_the_caller_and_nothing_is_enqueued(add: Add) -> None:
    add(Refusing())
    with pytest.raises(PermissionError, match=r"\[\[1, 2\]\]"):
        plain.add.enqueue(1, 2)
    with pytest.raises(PermissionError, match=r"\[\[1, 2\], \[3, 4\], \[5, 6\]\]"):
        plain.add.enqueue_many([(1, 2), (3, 4), (5, 6)])
    with pytest.raises(PermissionError, match=r"\[\[1, 1\], \[2, 1\]\]"):
        plain.add.using(dedup_key="{a}").enqueue_many([(1, 1), (2, 1)])
    assert not Job.objects.exists()


def test_on_enqueue_sees_each_job_by_the_id_of_its_row(add: Add) -> None:
    seen: list[UUID] = []

    class Sees(Middleware):
        def on_enqueue(self, jobs: Sequence[Job]) -> None:
            seen.extend(job.pk for job in jobs)

    add(Sees())
    results = plain.add.enqueue_many([(1, 2), (3, 4)])
    assert [str(job_id) for job_id in seen] == [result.id for result in results]
    assert list(Job.objects.order_by("pk").values_list("pk", flat=True)) == seen


@each_kind
def test_the_first_is_the_outermost_and_hears_how_the_attempt_ended(add: Add, task: Any) -> None:
    calls: list[Any] = []
    add(Noting(calls, "outer "))
    add(Noting(calls, "inner "))
    task.enqueue(1, 2)
    run_jobs()
    assert calls == [
        *("outer before", "inner before", "inner after", "outer after"),
        *[("succeeded", None, None)] * 2,
    ]


@each_kind
def test_what_is_raised_before_the_yield_is_the_exception_of_the_attempt(
    add: Add, task: Any
) -> None:
    calls: list[Any] = []
    add(Noting(calls))
    add(Raising())
    task.enqueue(1, 2)
    [job] = run_jobs()
    assert (job.state, job.error) == ("failed", "LookupError: no tenant")
    [before, after, (state, exception, failure)] = calls
    assert (before, after, state) == ("before", "after", "failed")
    assert isinstance(exception, LookupError)
    assert failure.message == "no tenant"


class Misshapen(Middleware):
    """One whose around() and aaround() do not yield once."""

    def __init__(self, yields: int) -> None:
        self.yields = yields

    @contextmanager
    def around(self, context: Any) -> Iterator[None]:
        """Yield as often as that."""
        for _ in range(self.yields):
            yield


class MisshapenForCoroutines(Misshapen):
    """The same on the event loop."""

    @asynccontextmanager
    async def aaround(self, context: Any) -> AsyncIterator[None]:
        """Yield as often as that."""
        for _ in range(self.yields):
            yield


class RaisingAfter(Middleware):
    """Raises when the task has ended."""

    @contextmanager
    def around(self, context: Any) -> Iterator[None]:
        """Raise after the yield, whatever the task raised."""
        try:
            yield
        finally:
            raise LookupError("too late")


@each_kind
@pytest.mark.parametrize("kind", [Misshapen, MisshapenForCoroutines])
@pytest.mark.parametrize(("yields", "why"), [(0, "didn't yield"), (2, "didn't stop")])
def test_an_around_that_does_not_yield_once_fails_the_attempt_by_its_name(
    add: Add, task: Any, kind: type[Misshapen], yields: int, why: str
) -> None:
    calls: list[Any] = []
    add(Noting(calls))
    add(kind(yields))
    task.enqueue(1, 2)
    [job] = run_jobs()
    assert (job.state, job.error) == ("failed", f"RuntimeError: generator {why}")
    assert f"around() of {kind.__name__}." in Attempt.objects.get().traceback
    # The others have their end, and one outcome.
    assert [call if isinstance(call, str) else call[0] for call in calls] == [
        *("before", "after", "failed")
    ]


@each_kind
def test_what_is_raised_after_the_yield_is_the_exception_of_the_attempt(
    add: Add, task: Any
) -> None:
    calls: list[Any] = []
    add(Noting(calls))
    add(RaisingAfter())
    task.enqueue(1, 2)
    [job] = run_jobs()
    assert (job.state, job.error, job.result) == ("failed", "LookupError: too late", None)
    assert len(calls) == 3


@pytest.mark.parametrize(
    ("task", "args", "states"),
    [
        (plain.add, (1, 2), ["succeeded"]),
        (plain.fail, (), ["failed"]),
        (tasks.third_time_lucky, (), ["queued", "scheduled"]),
        (tasks.again_later, (60,), ["scheduled"]),
        (tasks.again_later, (0,), ["queued"] * 5),
        (tasks.hopeless, (), ["failed"]),
        (tasks.hang_twice, (), ["queued", "failed"]),
        (tasks.ahang, (), ["failed"]),
        (tasks.stops_when_asked, (), ["cancelled"]),
        (tasks.atomically, ("a", True), ["queued", "failed"]),
        (tasks.atomically, ("a",), ["succeeded"]),
        (tasks.gives, ("function",), ["failed"]),
        (tasks.gives, ("large",), ["failed"]),
        (tasks.loses_its_claim, (), []),
    ],
    ids=lambda value: value.func.__name__ if hasattr(value, "func") else None,
)
def test_each_attempt_that_ended_has_one_outcome(
    add: Add, task: Any, args: Any, states: list[str]
) -> None:
    calls: list[Any] = []
    add(Noting(calls))
    task.enqueue(*args)
    with suppress(RuntimeError):
        run_jobs(limit=5)
    assert calls.count("before") == max(len(states), 1)
    assert [call[0] for call in calls if isinstance(call, tuple)] == states


def test_a_cancellation_that_a_worker_finds_is_an_outcome_and_that_of_a_waiting_job_is_none(
    add: Add,
) -> None:
    calls: list[Any] = []
    add(Noting(calls))
    cancel_job(plain.add.enqueue(1, 2).id)
    plain.add.enqueue(1, 2)
    Job.objects.filter(state="queued").update(cancel_requested_at=clock.now())
    [job] = run_jobs()
    assert (job.state, [call[0] for call in calls]) == ("cancelled", ["cancelled"])


def test_a_job_that_could_not_begin_has_had_no_attempt_and_no_outcome(add: Add) -> None:
    calls: list[Any] = []
    add(Noting(calls))
    make_job(task="tests.nowhere.task")
    [job] = run_jobs()
    assert (job.state, job.attempt, calls) == ("scheduled", 0, [])
    make_job("running", attempt=1, worker=(worker := clock.new_id()), claims=1)
    [job] = Job.objects.filter(state="running")
    death = Death(job.pk, 1, worker, DeathCause.UNBEGUN)
    assert settle_death(death, "default")
    assert (Job.objects.get(pk=job.pk).state, calls) == ("queued", [])


@pytest.mark.parametrize(
    ("why", "state"),
    [
        *(("interrupted", "queued"), ("crash", "queued")),
        *(("timeout", "failed"), ("cancelled", "cancelled")),
    ],
)
def test_an_attempt_whose_process_died_has_one_outcome_however_it_died(
    add: Add, why: str, state: str
) -> None:
    calls: list[Any] = []
    add(Noting(calls))
    worker = clock.new_id()
    job = make_job(
        "running", task=plain.add.module_path, attempt=1, worker=worker, claims=1, args=[1, 2]
    )
    death = Death(job.pk, 1, worker, DeathCause(why))
    with without_redis():
        assert settle_death(death, "default")
        assert not settle_death(death, "default")
    assert [call[0] for call in calls] == [state]


def test_an_attempt_that_was_rescued_has_one_outcome_even_if_its_process_wakes_up(
    add: Add,
) -> None:
    calls: list[Any] = []
    add(Noting(calls))
    job = claim(UUID(plain.add.enqueue(1, 2).id), clock.new_id(), "default")
    assert job is not None
    assert rescue.rescue("default") == 1
    assert rescue.rescue("default") == 0
    assert run_claimed(job, "default") is None
    assert [call[0] for call in calls if isinstance(call, tuple)] == ["queued"]


@pytest.mark.parametrize("middleware", [[], [Middleware()]], ids=["without", "with"])
def test_what_a_failed_task_had_in_hand_is_let_go_without_the_collector(
    add: Add, caplog: pytest.LogCaptureFixture, middleware: list[Middleware]
) -> None:
    # What is logged stays, with its exception, until the end of the test.
    for name in ("django.tasks", "django_tasks"):
        caplog.set_level(logging.CRITICAL, name)
    for one in middleware:
        add(one)
    tasks.fails_with_much_in_hand.enqueue()
    gc.disable()
    try:
        [job] = run_jobs()
        assert job.error == "ValueError: no more room"
        assert not tasks.IN_HAND
    finally:
        gc.enable()


@pytest.mark.parametrize("task", [tasks.hang, tasks.ahang], ids=["function", "coroutine"])
def test_the_time_limit_of_the_task_holds_for_its_middleware(add: Add, task: Any) -> None:
    add(Hanging())
    task.enqueue()
    start = time.monotonic()
    [job] = run_jobs()
    assert job.error.startswith("JobTimeout")
    assert time.monotonic() - start < 4 * patience()


@pytest.mark.parametrize(
    "error", [kind("no such meter") for kind in (LookupError, SystemExit, asyncio.CancelledError)]
)
def test_what_on_outcome_raises_is_logged_and_changes_nothing(
    add: Add, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    calls: list[Any] = []
    add(Failing(error))
    add(Noting(calls))
    plain.add.enqueue(1, 2)
    [job] = run_jobs()
    assert (job.state, len(calls)) == ("succeeded", 3)
    [record] = [record for record in caplog.records if "on_outcome" in record.msg]
    assert str(job.pk) in record.getMessage()
    assert "no such meter" in str(record.exc_info)


def test_a_rescue_is_an_outcome_too_without_a_task_that_runs(add: Add) -> None:
    calls: list[Any] = []
    add(Noting(calls))
    make_job("running", attempt=3, worker=clock.new_id())
    assert rescue.rescue("default") == 1
    [(state, exception, failure)] = calls
    assert (state, exception, failure.outcome) == ("failed", None, "crash")


def test_without_middleware_a_plain_task_needs_no_context(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execute, "JobContext", None)
    plain.add.enqueue(1, 2)
    [job] = run_jobs()
    assert (job.state, job.result) == ("succeeded", 3)


def test_those_of_the_options_are_made_once_and_stand_within_those_of_all_backends(
    add: Add, settings: Settings
) -> None:
    options = {**settings.TASKS["default"]["OPTIONS"], "middleware": [f"{PATH}.ToFile"]}
    settings.TASKS = {"default": {**settings.TASKS["default"], "OPTIONS": options}}
    [first] = middleware_of("default")
    everywhere = Noting([])
    add(everywhere)
    add(everywhere)
    assert middleware_of("default") == (everywhere, first)
    # Jobs from the time before TASKS named a backend belong to the default one.
    assert middleware_of("bgtasks") == (everywhere, first)
    assert middleware_of("gone") == (everywhere,)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("Nowhere", "cannot be imported"),
        (f"{PATH}.Nowhere", "cannot be imported"),
        (f"{PATH}.write", "is no subclass of django_bgtasks.Middleware"),
        (f"{PATH}.NeedsMore", "cannot be made: TypeError"),
    ],
)
def test_what_is_no_middleware_is_an_error_that_names_it(
    settings: Settings, path: str, why: str
) -> None:
    settings.TASKS = {"default": {**settings.TASKS["default"], "OPTIONS": {"middleware": [path]}}}
    with pytest.raises(ImproperlyConfigured, match=f"'{path}' {why}"):
        plain.add.enqueue(1, 2)


def test_a_worker_does_not_start_with_what_is_no_middleware(bgworker: WorkerFactory) -> None:
    options = f'{{"middleware": ["{PATH}.NeedsMore"]}}'
    worker = bgworker("--burst", env={"BGTASKS_TEST_OPTIONS": options})
    assert worker.wait() == 5
    assert f"The middleware '{PATH}.NeedsMore' cannot be made" in worker.output


@pytest.mark.long(after=1)
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("threads", [1, 4])
def test_in_a_worker_each_attempt_has_one_outcome_and_each_process_a_beginning_and_an_end(
    bgworker: WorkerFactory, tmp_path: Path, threads: int
) -> None:
    """Groups of short jobs, coroutines, and, in a second worker, one whose process dies."""
    jobs: list[Any] = [plain.add.enqueue(n, 1) for n in range(5)]
    jobs += [tasks.aadd.enqueue(n, 1) for n in range(5)]
    file = tmp_path / "calls"
    env = {
        "DJANGO_SETTINGS_MODULE": "tests.jobs.middleware_settings",
        "MIDDLEWARE_FILE": str(file),
    }
    assert bgworker("--burst", "--threads", threads, env=env).wait() == 0
    dead: Any = tasks.dies.enqueue()
    assert bgworker("--burst", "--threads", threads, env=env).wait() == 0
    lines = Counter(file.read_text().splitlines())
    for job in jobs:
        assert lines.pop(f"around {job.id}") == 1
        assert lines.pop(f"succeeded {job.id}") == 1
    assert (lines[f"around {dead.id}"], lines[f"failed {dead.id}"]) == (1, 1)
    # The one that died has no orderly end.
    assert lines["started jobs"] == lines["stopping jobs"] + 1 >= 2
    assert (lines["started maintenance"], lines["stopping maintenance"]) == (2, 2)


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_the_session_that_a_receiver_has_begun_is_the_same_for_each_job(
    bgworker: WorkerFactory,
) -> None:
    before = tasks.setting_of_its_session.enqueue()
    tasks.sets_its_session.enqueue("12345ms")
    after = tasks.setting_of_its_session.enqueue()
    env = {"DJANGO_SETTINGS_MODULE": "tests.jobs.started_settings"}
    assert bgworker("--burst", env=env).wait() == 0
    assert Job.objects.get(pk=after.id).result == Job.objects.get(pk=before.id).result
