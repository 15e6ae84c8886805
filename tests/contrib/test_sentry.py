"""Sentry, the real library with a transport that keeps what would be sent."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

from django_bgtasks.contrib import sentry
from django_bgtasks.contrib.sentry import BgTasksIntegration
from django_bgtasks.core import clock
from django_bgtasks.models import Job
from django_bgtasks.testing import run_jobs
from django_bgtasks.worker.maintenance import rescue
from tests.interfaces.rows import make_job
from tests.workers import WorkerFactory

from . import tasks

Start = Callable[..., list[Any]]
Reported = Callable[..., list[Any]]
IBAN = "DE89370400440532013000"
each_kind = pytest.mark.parametrize("kind", [[], ["--threads", 4]], ids=["one by one", "threads"])


@pytest.fixture
def start() -> Iterator[Start]:
    """`start(report_retries=True)` begins to report; the list is of the events so far."""

    def init(**options: Any) -> list[Any]:
        events: list[Any] = []

        class Recorder(Transport):
            def capture_envelope(self, envelope: Envelope) -> None:
                events.append(envelope.get_event())

        sentry_sdk.init(
            dsn="https://key@sentry.example.com/1",
            transport=Recorder,
            integrations=[BgTasksIntegration(**options)],
            auto_enabling_integrations=False,
        )
        return events

    yield init
    sentry_sdk.init(default_integrations=False)


@pytest.fixture
def reported(bgworker: WorkerFactory, tmp_path: Path) -> Reported:
    """`reported("--threads", 4)` runs a worker until nothing is queued; the events of all of it."""

    def run(*options: Any) -> list[Any]:
        file = tmp_path / "events"
        env = {"DJANGO_SETTINGS_MODULE": "tests.contrib.sentry_settings", "SENTRY_FILE": str(file)}
        assert bgworker("--burst", *options, env=env).wait() == 0
        return [json.loads(line) for line in file.read_text().splitlines()]

    return run


@pytest.mark.django_db
def test_an_attempt_with_which_a_job_fails_is_one_event_that_names_the_job(start: Start) -> None:
    events = start()
    jobs: list[Any] = [tasks.break_down.enqueue(1), tasks.break_down_async.enqueue(2)]
    run_jobs()
    assert [event["exception"]["values"][0]["value"] for event in events] == [
        "broken 1",
        "broken 2",
    ]
    for event, job in zip(events, jobs, strict=True):
        assert event["tags"]["bgtasks.job"] == job.id
        assert event["tags"]["bgtasks.task"] == event["transaction"] == job.task.module_path
        assert str(event["tags"]["bgtasks.attempt"]) == "1"
        assert event["exception"]["values"][0]["mechanism"]["handled"] is False


@pytest.mark.django_db
def test_an_expected_failure_is_no_event_and_another_one_of_that_task_is(start: Start) -> None:
    events = start(report_retries=True)
    tasks.breaks_as_expected.enqueue("expected")
    run_jobs()
    assert events == []
    tasks.breaks_as_expected.enqueue("not expected")
    run_jobs()
    assert [event["exception"]["values"][0]["value"] for event in events] == ["not expected"]


@pytest.mark.django_db
def test_what_a_task_itself_reports_names_the_job_and_nothing_after_it_does(start: Start) -> None:
    events = start()
    job = tasks.log_error_and_go_on.enqueue()
    run_jobs()
    sentry_sdk.capture_message("outside")
    inside, outside = events
    assert inside["tags"]["bgtasks.job"] == job.id
    assert "bgtasks.job" not in outside.get("tags", {})


@pytest.mark.django_db
@pytest.mark.parametrize("retries", [False, True])
def test_attempts_that_are_made_again_are_no_events_unless_asked(
    start: Start, retries: bool
) -> None:
    events = start(report_retries=retries)
    tasks.break_down_always.enqueue()
    tasks.give_up.enqueue()
    tasks.later.enqueue()
    run_jobs()
    attempts = [str(event["tags"]["bgtasks.attempt"]) for event in events]
    assert attempts == (["1", "2", "3"] if retries else ["3"])


@pytest.mark.django_db
def test_sensitive_arguments_are_not_sent(start: Start) -> None:
    events = start()
    tasks.break_down_with.enqueue(IBAN)
    run_jobs()
    assert len(events) == 2
    assert events[1]["exception"]["values"][0]["value"].endswith(" is refused")
    assert IBAN not in json.dumps(events, default=str)


@pytest.mark.django_db
def test_without_sentry_nothing_is_surrounded_and_nothing_is_reported(start: Start) -> None:
    events = start()
    sentry_sdk.init(default_integrations=False)
    tasks.break_down.enqueue(1)
    [job] = run_jobs()
    assert (job.state, events) == ("failed", [])


@pytest.mark.django_db
def test_a_result_that_cannot_be_kept_is_an_event_too(start: Start) -> None:
    events = start()
    job = tasks.answer_nonsense.enqueue()
    run_jobs()
    [event] = events
    assert event["exception"]["values"][0]["type"] == "TypeError"
    assert (event["tags"]["bgtasks.job"], event["transaction"]) == (job.id, job.task.module_path)


@pytest.mark.django_db(transaction=True)
def test_what_only_the_commit_finds_wrong_is_an_event_too(start: Start) -> None:
    events = start()
    job = tasks.point_nowhere.enqueue()
    run_jobs()
    [event] = events
    assert event["exception"]["values"][-1]["type"] == "IntegrityError"
    assert event["tags"]["bgtasks.job"] == job.id


@pytest.mark.django_db
@pytest.mark.parametrize("retries", [False, True])
def test_a_job_whose_worker_is_gone_is_an_event_when_it_fails_with_that(
    start: Start, retries: bool
) -> None:
    events = start(report_retries=retries)
    job, again = (make_job("running", attempt=3, worker=clock.new_id()) for _ in range(2))
    Job.objects.filter(pk=again.pk).update(attempt=1)
    assert rescue.rescue("default") == 2
    by_job = {event["tags"]["bgtasks.job"]: event for event in events}
    assert set(by_job) == ({str(job.pk), str(again.pk)} if retries else {str(job.pk)})
    event = by_job[str(job.pk)]
    [value] = event["exception"]["values"]
    assert (value["type"], value["mechanism"]["handled"]) == ("crash", False)
    assert "was not heard of any more" in value["value"]
    assert (event["transaction"], str(event["tags"]["bgtasks.attempt"])) == (job.task, "3")
    assert event["fingerprint"] == ["bgtasks", "crash", job.task]


@pytest.mark.django_db
def test_a_report_that_cannot_be_made_harms_no_job(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    start()
    monkeypatch.setattr(sentry, "event_from_exception", None)
    tasks.break_down.enqueue(1)
    [job] = run_jobs()
    assert (job.state, job.error) == ("failed", "ValueError: broken 1")


@each_kind
def test_a_worker_sends_what_it_has_before_its_processes_end(
    reported: Reported, kind: list[Any]
) -> None:
    """Jobs beside each other, coroutines on one loop included, each with a scope of its own."""
    jobs: list[Any] = [tasks.break_down.enqueue(n) for n in range(6)]
    jobs += [tasks.break_down_async.enqueue(n) for n in range(6, 12)]
    events = reported(*kind)
    assert Counter(event["tags"]["bgtasks.job"] for event in events) == Counter(j.id for j in jobs)
    for event in events:
        number = jobs.index(next(job for job in jobs if job.id == event["tags"]["bgtasks.job"]))
        assert event["exception"]["values"][0]["value"] == f"broken {number}"
        crumbs = [crumb["message"] for crumb in event["breadcrumbs"]["values"]]
        assert [crumb for crumb in crumbs if crumb.startswith("number ")] == [f"number {number}"]


@each_kind
def test_what_a_task_has_reported_before_it_fails_is_not_reported_again(
    reported: Reported, kind: list[Any]
) -> None:
    jobs: list[Any] = [tasks.report_and_break_down.enqueue() for _ in range(2)]
    jobs += [tasks.report_and_break_down_async.enqueue() for _ in range(2)]
    events = reported(*kind)
    assert Counter(event["tags"]["bgtasks.job"] for event in events) == Counter(j.id for j in jobs)


def test_a_killed_process_is_one_event_when_its_job_fails_with_that(reported: Reported) -> None:
    """One that goes on after its timeout is killed by its worker, another kills itself."""
    dies, goes_on = tasks.die.enqueue(), tasks.go_on_for_ever.enqueue()
    events = reported()
    by_job = {event["tags"]["bgtasks.job"]: event for event in events}
    assert len(events) == 2
    died, went_on = by_job[dies.id], by_job[goes_on.id]
    assert died["exception"]["values"][0]["type"] == "crash"
    assert "SIGKILL" in died["exception"]["values"][0]["value"]
    assert (died["transaction"], str(died["tags"]["bgtasks.attempt"])) == (
        dies.task.module_path,
        "2",
    )
    assert went_on["exception"]["values"][0]["type"] == "JobTimeout"
