"""`bgstatus` and the commands that move, hold and delete jobs."""

from __future__ import annotations

import json
import os
import pty
import select
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import redis
from django.core.management import CommandError
from django.db import OperationalError
from pytest_django import Settings

from django_bgtasks import testing
from django_bgtasks.core import clock
from django_bgtasks.core.states import State
from django_bgtasks.jobs.actions import pause_queue
from django_bgtasks.management.base import shell_actor
from django_bgtasks.management.commands import bgstatus
from django_bgtasks.models import Job, QueuePause
from django_bgtasks.monitoring.diagnosis import diagnose
from django_bgtasks.monitoring.snapshot import take_snapshot
from tests.ledger.rows import aged, in_state
from tests.named import waiting_in
from tests.waiting import wait_until
from tests.workers import ROOT

from .commands import busy, run
from .rows import make_job, make_worker

pytestmark = pytest.mark.django_db(transaction=True)
# Whose parent ignores SIGINT, as a shell's background jobs do, would ignore it too.
WATCH = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from django.core.management import execute_from_command_line
execute_from_command_line(["manage.py", "bgstatus", "--watch", "--every", "0.2"])
"""
WITHOUT_RICH = """
import importlib.util
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name == "rich" else find_spec(name, *more)
"""


def test_bgstatus_shows_the_figures_and_is_content(redis_client: redis.Redis) -> None:
    busy()
    text, code = run("bgstatus")
    assert code == 0
    for words in ("db1:42", "1 of 2", "shop.tasks.send", "ValueError: [red]no[/red]", "emails"):
        assert words in text


@pytest.mark.parametrize("ill", ["warning", "critical", "unknown"])
def test_the_exit_code_of_bgstatus_is_for_monitoring(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch, ill: str
) -> None:
    if ill != "critical":
        make_worker()
    if ill == "warning":
        pause_queue("emails")
    if ill == "unknown":
        error = OperationalError("the server is gone")
        monkeypatch.setattr(bgstatus, "take_snapshot", _raise(error))
    text, code = run("bgstatus")
    assert code == {"warning": 1, "critical": 2, "unknown": 3}[ill]
    words = {
        "warning": "bgresume emails",
        "critical": "bgworker",
        "unknown": "the server is gone",
    }
    assert words[ill] in text


def test_bgstatus_knows_only_backends_of_ours(redis_client: redis.Redis) -> None:
    text, code = run("bgstatus", "--backend", "nothing")
    assert (code, "nothing" in text) == (3, True)


def test_bgstatus_as_json_has_the_same_figures(redis_client: redis.Redis) -> None:
    busy()
    text, code = run("bgstatus", "--json")
    found = json.loads(text)
    assert (code, found["level"], found["alive"]) == (0, "info", 1)
    assert [problem["code"] for problem in found["problems"]] == ["failed"]
    assert found["queues"][0]["name"] == "default"
    assert found["running"][0]["task"] == "shop.tasks.send"


def test_bgstatus_has_the_queue_in_trouble_first_and_counts_the_idle_ones(
    redis_client: redis.Redis,
) -> None:
    busy()
    make_job("queued", queue="uploads", enqueued_at=clock.now() - timedelta(minutes=10))
    text, _code = run("bgstatus")
    table = text.partition("Queues (")[2]
    assert table.startswith("2 idle)")
    assert table.index("uploads") < table.index("default")
    assert "emails" not in table.partition("Workers")[0]


@pytest.mark.long(after=1)
@pytest.mark.slow
@pytest.mark.parametrize("rich", [True, False])
def test_bgstatus_watches_until_it_is_interrupted(
    worker_env: dict[str, str], redis_client: redis.Redis, rich: bool
) -> None:
    """On a screen of its own with rich; without it as plain text, with the hint to install it."""
    busy()
    start = WATCH if rich else f"{WITHOUT_RICH}{WATCH}"
    env = {**worker_env, "COLUMNS": "200", "LINES": "100", "TERM": "xterm"}
    screen, terminal = pty.openpty()
    command = [sys.executable, "-c", start]
    seen: list[bytes] = []

    def shows(text: str) -> bool:
        while select.select([screen], [], [], 0)[0]:
            seen.append(os.read(screen, 65536))
        return text.encode() in b"".join(seen)

    with subprocess.Popen(
        command, stdin=terminal, stdout=terminal, stderr=terminal, cwd=ROOT, env=env
    ) as process:
        try:
            wait_until(lambda: shows("shop.tasks.send"), 60)
            make_job("queued", queue="letters", enqueued_at=clock.now())
            wait_until(lambda: shows("letters"), 60)
            process.send_signal(signal.SIGINT)
            wait_until(lambda: shows("") and process.poll() == 0, 30)
        finally:
            process.kill()
            os.close(terminal)
            os.close(screen)
    assert (b"[terminal]" in b"".join(seen)) is not rich


def test_bgretry_runs_the_jobs_again_that_match(redis_client: redis.Redis) -> None:
    wanted = make_job("failed", task="tests.app.tasks.add", args=[1, 2], error="ValueError: no")
    others = [make_job("failed"), make_job("failed", task="tests.app.tasks.add", error="Other: x")]
    output, _ = run("bgretry", "--task", wanted.task, "--error", "ValueError", "--dry-run")
    assert str(wanted.pk) in output
    assert "nothing was done" in output
    text, _ = run("bgretry", "--task", wanted.task, "--error", "ValueError")
    assert "1 job will run again." in text
    assert Job.objects.get(pk=wanted.pk).state == "queued"
    assert redis_client.lrange(waiting_in("default"), 0, -1) == [str(wanted.pk).encode()]
    assert {Job.objects.get(pk=job.pk).state for job in others} == {"failed"}


def test_bgretry_takes_ids_and_says_which_it_could_not(redis_client: redis.Redis) -> None:
    failed, ended = make_job("failed"), make_job("succeeded")
    with pytest.raises(CommandError, match="2 jobs refused"):
        run("bgretry", failed.pk, ended.pk, uuid4())
    assert Job.objects.get(pk=failed.pk).state == "queued"
    assert Job.objects.get(pk=ended.pk).state == "succeeded"


def test_bgcancel_cancels_what_waits_and_leaves_what_runs_unless_it_is_named() -> None:
    waiting, running = make_job("queued"), make_job("running")
    with testing.without_redis():
        text, _ = run("bgcancel", "--queue", "default")
        assert "1 job cancelled" in text
        assert Job.objects.get(pk=waiting.pk).state == "cancelled"
        assert Job.objects.get(pk=running.pk).cancel_requested_at is None
        run("bgcancel", running.pk)
    assert Job.objects.get(pk=running.pk).cancel_requested_at is not None


@pytest.mark.parametrize("name", ["bgretry", "bgcancel"])
def test_no_command_moves_all_jobs_by_mistake(name: str) -> None:
    make_job("failed")
    with pytest.raises(CommandError, match="--all"):
        run(name)
    with pytest.raises(CommandError, match="no job's id"):
        run(name, "nonsense")


def test_a_limit_takes_the_oldest() -> None:
    jobs = [make_job("queued") for _ in range(3)]
    run("bgcancel", "--all", "--limit", 2)
    states = [Job.objects.get(pk=job.pk).state for job in jobs]
    assert states == ["cancelled", "cancelled", "queued"]


def test_bgprune_deletes_what_is_over() -> None:
    old = {"enqueued_at": clock.now() - timedelta(days=40)}
    made = clock.id_floor(clock.now() - timedelta(days=40)).int
    for number, state in enumerate(("succeeded", "failed", "queued")):
        fields = {**old, "id": UUID(int=made + number)}
        if state != "queued":
            fields["finished_at"] = clock.now() - timedelta(days=39)
        make_job(state, **fields)
    make_job("succeeded")
    text, _ = run("bgprune")
    assert "1 row was deleted" in text
    run("bgprune", "--days", 30, "--state", "failed")
    assert sorted(Job.objects.values_list("state", flat=True)) == ["queued", "succeeded"]
    assert "0 rows were deleted" in run("bgprune", "--days", 36_500)[0]
    with pytest.raises(CommandError, match="--state goes with --days"):
        run("bgprune", "--state", "failed")


def test_bgpause_and_bgresume(redis_client: redis.Redis) -> None:
    assert run("bgpause", "emails", "reports")[0].count("is paused.") == 2
    assert "was paused before" in run("bgpause", "emails")[0]
    assert set(QueuePause.objects.values_list("queue", "by")) == {
        ("emails", shell_actor("bgpause").name),
        ("reports", shell_actor("bgpause").name),
    }
    assert "emails goes on." in run("bgresume", "emails")[0]
    assert "emails was not paused." in run("bgresume", "emails")[0]
    run("bgresume", "--all")
    assert not QueuePause.objects.exists()


def test_a_queue_that_does_not_exist_is_not_paused(redis_client: redis.Redis) -> None:
    with pytest.raises(CommandError, match=r"Unknown queue: emials\. There are .*emails"):
        run("bgpause", "emials")
    with pytest.raises(CommandError, match="--all"):
        run("bgresume")


def _raise(error: Exception) -> Callable[..., Any]:
    def raising(*args: Any) -> Any:
        raise error

    return raising


def test_bgprune_is_about_the_jobs_of_one_backend(settings: Settings) -> None:
    entry = settings.TASKS["default"]
    settings.TASKS = {"default": entry, "archive": {**entry, "OPTIONS": {"keep_failed_days": 365}}}
    for alias in ("default", "archive", "removed"):
        aged(in_state(State.FAILED, backend=alias), timedelta(days=100))
    assert "1 row was deleted." in run("bgprune")[0]
    assert "0 rows were deleted." in run("bgprune", "--backend", "archive")[0]
    with pytest.raises(CommandError, match="TASKS has no entry 'removed'"):
        run("bgprune", "--backend", "removed")
    assert "1 row was deleted." in run("bgprune", "--backend", "removed", "--days", 1)[0]
    assert Job.objects.get().backend == "archive"


def test_jobs_are_chosen_by_the_alias_of_their_backend(redis_client: redis.Redis) -> None:
    strange, own = make_job(backend="removed"), make_job()
    text, _code = run("bgcancel", "--backend", "removed")
    assert "1 job cancelled" in text
    assert set(Job.objects.values_list("pk", "state")) == {
        (strange.pk, "cancelled"),
        (own.pk, "queued"),
    }
    assert "1 job will run again." in run("bgretry", strange.pk)[0]


def test_the_cure_for_jobs_that_are_held_cancels_these_only(settings: Settings) -> None:
    settings.TASKS = {**settings.TASKS, "other": settings.TASKS["default"]}
    fields = {"task": "shop.gone", "held_reason": "of_another_release", "error": "it waits"}
    chosen = [make_job("queued", **fields), make_job("scheduled", run_after=clock.now(), **fields)]
    make_job("queued", task="shop.gone")
    make_job("queued", **{**fields, "task": "shop.other"})
    make_job("queued", backend="other", **fields)
    make_job("failed", **{**fields, "held_reason": ""})
    [cure] = [
        problem.command
        for problem in diagnose(take_snapshot("default", "default"))
        if problem.params.get("task") == "shop.gone"
    ]
    before, command = cure.split(" bgcancel ")
    assert before == "python manage.py"
    with testing.without_redis():
        assert "2 jobs cancelled" in run("bgcancel", *shlex.split(command))[0]
    assert set(Job.objects.filter(state="cancelled")) == set(chosen)


def test_held_jobs_are_those_of_the_list_in_the_admin() -> None:
    """Of a backend that TASKS does not have, too."""
    chosen = [make_job(held_reason="not_a_task"), make_job(backend="removed")]
    make_job()
    with testing.without_redis():
        assert "2 jobs cancelled" in run("bgcancel", "--held")[0]
        assert set(Job.objects.filter(state="cancelled")) == set(chosen)
        with pytest.raises(CommandError, match="--held chooses jobs"):
            run("bgcancel", chosen[0].pk, "--held")


def test_the_backend_that_jobs_had_before_tasks_named_one_is_the_default_one(
    settings: Settings,
) -> None:
    settings.TASKS = {"tasks": settings.TASKS["default"]}
    make_job(backend="bgtasks")
    with testing.without_redis():
        assert "1 job cancelled" in run("bgcancel", "--backend", "tasks")[0]
