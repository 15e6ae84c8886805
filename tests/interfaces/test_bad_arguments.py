"""Commands that are given what they cannot take: the argument, the value and what is allowed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from django_bgtasks.management.commands.bgworker import NUMBERS as OF_THE_WORKER
from django_bgtasks.models import Job
from django_bgtasks.monitoring.commands import to_type
from tests.app.tasks import add
from tests.workers import WorkerFactory

from .commands import run
from .rows import make_job

pytestmark = pytest.mark.django_db
COUNTS = ["0", "-5", "1.5", "nan", "inf", "", "five", "99999999999999999999", "9" * 5000]
SPANS = ["-1", "nan", "inf", "-inf", "", "soon", "1e300"]
TEXTS = ["", "x" * 300, "a\0b", "\ud800"]
IDS = ["", "5", "nonsense", "00000000-0000-0000-0000-00000000000g"]
NUMBERS = [
    *(("bgretry", "--limit", value) for value in COUNTS),
    *(("bgcancel", "--limit", value) for value in COUNTS),
    *(("bgprune", "--days", value) for value in SPANS),
    *(("bgstatus", "--every", value) for value in [*SPANS, "0"]),
    *(("bgworker", "--grace", value) for value in SPANS),
    *(("bgworker", name, value) for name in [*OF_THE_WORKER, "--max-memory"] for value in COUNTS),
    ("bgworker", "--processes", "1001"),
    ("bgworker", "--threads", "101"),
    ("bgworker", "--async-concurrency", "301"),
]


@pytest.mark.parametrize(("name", "option", "value"), NUMBERS, ids=lambda part: str(part)[:12])
def test_a_number_that_cannot_be_is_refused(name: str, option: str, value: str) -> None:
    make_job("failed")
    more = ["--all"] if option == "--limit" else []
    with pytest.raises(CommandError) as refusal:
        run(name, *more, f"{option}={value}")
    assert option in str(refusal.value)
    assert repr(value[:80]) in str(refusal.value)
    assert "number from" in str(refusal.value)
    assert Job.objects.get().state == "failed"


@pytest.mark.parametrize("value", TEXTS, ids=lambda value: ascii(value)[:12])
@pytest.mark.parametrize(
    ("name", "option"),
    [
        *(("bgretry", option) for option in ("--task", "--queue", "--backend", "--error")),
        *(("bgcancel", option) for option in ("--task", "--queue", "--backend", "--error")),
        *((name, "--backend") for name in ("bgstatus", "bgdoctor", "bgprune", "bgworker")),
    ],
)
def test_a_text_that_no_row_can_have_is_refused(name: str, option: str, value: str) -> None:
    make_job("failed")
    state = ["--state", "failed"] if name == "bgretry" else []
    with pytest.raises(CommandError, match="a text of 1 to") as refusal:
        run(name, *state, f"{option}={value}")
    assert option in str(refusal.value)
    assert Job.objects.get().state == "failed"


@pytest.mark.parametrize("name", ["bgpause", "bgresume", "bgworker"])
@pytest.mark.parametrize("value", ["", "x" * 101], ids=["empty", "long"])
def test_a_queue_that_cannot_be_is_refused(name: str, value: str) -> None:
    with pytest.raises(CommandError, match="a text of 1 to 100 valid characters"):
        run(name, value)


@pytest.mark.parametrize("value", IDS)
@pytest.mark.parametrize("name", ["bgretry", "bgcancel"])
def test_an_id_that_cannot_be_is_refused(name: str, value: str) -> None:
    with pytest.raises(CommandError, match="is no job's id"):
        run(name, value)


@pytest.mark.parametrize("name", ["bgretry", "bgcancel"])
@pytest.mark.parametrize("more", [["--all"], ["--queue", "emails"], ["--limit", "1"]])
def test_ids_and_a_choice_are_not_mixed(name: str, more: list[str]) -> None:
    job = make_job("failed")
    with pytest.raises(CommandError, match=f"{more[0]} chooses jobs"):
        run(name, job.pk, *more)


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("bgretry", []),
        ("bgcancel", []),
        ("bgprune", []),
        ("bgprune", ["--days", "1"]),
        ("bgdoctor", []),
        ("bgpause", ["emails"]),
        ("bgresume", ["--all"]),
    ],
)
def test_a_backend_that_nobody_has_is_refused(name: str, more: list[str]) -> None:
    with pytest.raises(CommandError, match=r"--backend: .*'nosuch'.*default"):
        run(name, *more, "--backend", "nosuch")


@pytest.mark.django_db(transaction=True)
def test_a_worker_refuses_a_backend_that_nobody_has(bgworker: WorkerFactory) -> None:
    worker = bgworker("--burst", "--backend", "nosuch")
    assert worker.wait() == 1
    assert "--backend: TASKS has no entry 'nosuch'" in worker.output


@pytest.mark.parametrize(("name", "state"), [("bgretry", "queued"), ("bgprune", "running")])
def test_a_state_that_cannot_be_is_refused(name: str, state: str) -> None:
    for wrong in (state, "nosuch", ""):
        with pytest.raises(CommandError, match=r"--state: invalid choice: .*failed'?[,)]"):
            run(name, f"--state={wrong}")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("bgretry", {"limit": -5, "all": True}),
        ("bgretry", {"queue": "", "state": ["failed"]}),
        ("bgprune", {"days": float("nan")}),
        ("bgprune", {"days": float("inf")}),
        ("bgworker", {"processes": 0, "burst": True}),
    ],
)
def test_keywords_of_call_command_are_checked_too(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(CommandError, match=f"--{next(iter(options))}: .* is needed, not"):
        call_command(name, **options)


def test_bgresume_takes_names_or_all() -> None:
    with pytest.raises(CommandError, match="not both"):
        run("bgresume", "emails", "--all")


@pytest.mark.django_db(transaction=True)
def test_without_queues_a_worker_takes_any_name_and_says_that_no_task_names_it(
    settings: Settings, bgworker: WorkerFactory
) -> None:
    settings.TASKS = {"default": {**settings.TASKS["default"], "QUEUES": []}}
    result: Any = add.using(queue_name="emials").enqueue(1, 2)
    env = {"BGTASKS_TEST_TASKS": json.dumps(settings.TASKS)}
    worker = bgworker("emials", "default", "--burst", env=env)
    assert worker.wait() == 0
    assert "No task here names the queue emials. Tasks name " in worker.output
    result.refresh()
    assert result.return_value == 3


def test_what_is_advised_is_about_the_backend_that_is_shown(settings: Settings) -> None:
    entry = settings.TASKS["default"]
    settings.TASKS = {"default": entry, "archive": {**entry, "OPTIONS": {"redis_url": None}}}
    text, code = run("bgstatus", "--backend", "archive")
    assert code == 2
    assert text.count("python manage.py bgworker --backend archive") == 2
    run("bgpause", "emails", "--backend", "archive")
    text, _ = run("bgstatus", "--backend", "archive")
    assert "python manage.py bgresume --backend archive emails" in text
    text, _ = run("bgdoctor", "--backend", "archive")
    assert "python manage.py bgworker --backend archive" in text


def test_a_command_is_advised_as_a_shell_takes_it() -> None:
    assert to_type("bgworker", "default") == "python manage.py bgworker"
    assert to_type("bgresume", "default", "-x y") == "python manage.py bgresume -- '-x y'"
