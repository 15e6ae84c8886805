"""All who tell how a site does give the same answer: asked about the same broken site."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
import redis
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families
from pytest_django import Settings

from django_bgtasks import is_served, oldest_age, queue_depths, workers
from django_bgtasks.core import clock
from django_bgtasks.jobs.actions import pause_queue
from django_bgtasks.ledger.workers import INLINE_WORKER
from django_bgtasks.models import LimitOverride
from testproject.servers import RedisServer
from tests.interfaces.rows import make_attempt, make_job, make_schedule, make_worker

pytestmark = pytest.mark.django_db(transaction=True)
TOKEN = "only-machines-know-this-one"
Problems = set[tuple[str, str]]
EXIT_CODES = {"ok": 0, "info": 0, "warning": 1, "critical": 2}
PROBLEM = re.compile(
    r'<p class="bgtasks-problem" data-code="([\w-]+)"><span class="bgtasks-badge '
    r'bgtasks-is-(failed|late|info)">'
)


@pytest.fixture
def machine(settings: Settings) -> Client:
    """A monitoring system, with the token."""
    entry = settings.TASKS["default"]
    options = {**entry["OPTIONS"], "monitoring_token": TOKEN}
    settings.TASKS = {"default": {**entry, "OPTIONS": options}}
    return Client(headers={"Authorization": f"Bearer {TOKEN}"})


def dead_worker() -> None:
    make_worker(last_seen_at=clock.now() - timedelta(seconds=90))


def lost_worker() -> None:
    make_worker(lost_at=clock.now())


def orphaned_jobs() -> None:
    make_worker()
    make_job("running", worker=make_worker(hostname="db2", lost_at=clock.now()).pk)
    make_job("running", worker=make_worker(stopped_at=clock.now()).pk)


def paused_queue() -> None:
    make_worker()
    pause_queue("emails", by="root")


def overdue_schedule(seconds: int) -> None:
    make_worker()
    make_job("scheduled", run_after=clock.now() - timedelta(seconds=seconds))


def unknown_backend() -> None:
    make_worker()
    make_job(backend="removed")


def broken_processes() -> None:
    make_worker(trouble_code="other", trouble_params={"words": "OSError: no space left"})


def many_failures() -> None:
    """By two errors, spread over so many queues that no queue has many."""
    make_worker()
    for number in range(30):
        job = make_job("failed", queue=f"tenant-{number:02}", attempt=1)
        make_attempt(job, exception_class="OSError" if number % 2 else "KeyError")


def one_failure() -> None:
    make_worker()
    make_job("failed", attempt=1)


def mail_server_away() -> None:
    make_worker()
    for _number in range(30):
        job = make_job("scheduled", attempt=1, run_after=clock.now() + timedelta(hours=1))
        make_attempt(job, exception_class="smtplib.SMTPServerDisconnected")


def running_in_a_queue_that_no_row_names() -> None:
    worker = make_worker(queues=["default"])
    make_job("running", queue="tenant-00", worker=worker.pk, attempt=1)
    make_job("queued", queue="tenant-00", enqueued_at=clock.now() - timedelta(minutes=2))


def worker_of_all_queues() -> None:
    make_worker(queues=["default"], serves_all=True)
    make_job("queued", queue="emails", enqueued_at=clock.now() - timedelta(minutes=2))


def unserved_queue() -> None:
    make_worker(queues=["default"])
    lost = make_worker(hostname="db2", queues=["emails"], lost_at=clock.now())
    make_job("running", queue="emails", worker=lost.pk, attempt=1)
    make_job("queued", queue="emails", enqueued_at=clock.now() - timedelta(minutes=2))


def overrun() -> None:
    worker = make_worker()
    began = clock.now() - timedelta(minutes=10)
    make_job("running", worker=worker.pk, attempt=1, started_at=began)


def held_job() -> None:
    make_worker()
    fields = {"held_reason": "task_not_imported", "error_params": {"task": "a.b", "why": "gone"}}
    make_job("scheduled", task="a.b", run_after=clock.now() + timedelta(minutes=5), **fields)


def late_schedule() -> None:
    """And one that is as late, and waits for its earlier job as it should."""
    make_worker()
    due = clock.now() - timedelta(minutes=2)
    make_schedule(next_at=due)
    waiting = make_schedule(name="waiting", next_at=due, overlap="wait")
    make_job("queued", schedule=waiting.pk, tick=due - timedelta(hours=1), enqueued_at=clock.now())


def schedule_of_a_task_that_is_gone() -> None:
    make_worker()
    make_schedule(task="tests.app.tasks.removed", next_at=clock.now() - timedelta(minutes=2))


def schedule_that_the_code_does_not_declare_any_more() -> None:
    make_worker()
    make_schedule(source="code", next_at=clock.now() - timedelta(minutes=2))


def failing_schedule() -> None:
    """Its last job; of the other one only an earlier job has failed."""
    make_worker()
    for name, states in (("bad", ("succeeded", "failed")), ("good", ("failed", "succeeded"))):
        row = make_schedule(name=name)
        for hours, state in zip((2, 1), states, strict=True):
            tick = clock.now() - timedelta(hours=hours)
            make_job(state, schedule=row.pk, tick=tick, finished_at=tick, attempt=1)


def refused_schedule() -> None:
    make_worker()
    make_schedule(error="The queue emails is full.", refused_at=clock.now())


def ended_schedule() -> None:
    make_worker()
    make_schedule(next_at=None)


def paused_schedules() -> None:
    """Nothing else is told of what somebody has paused."""
    make_worker()
    past = clock.now() - timedelta(hours=2)
    for number in range(12):
        make_schedule(
            name=f"report-{number}",
            paused_at=past,
            paused_by="ada",
            next_at=past,
            error="No.",
            refused_at=past,
        )


def held_sequence() -> None:
    """And one that nobody waits in, and one that is held since a moment."""
    make_worker()
    long_ago = clock.now() - timedelta(minutes=10)
    for key, ended in (("a", long_ago), ("b", long_ago), ("c", clock.now())):
        of = {"lane": f"order:{key}", "lane_mode": "hold", "at_once": 1}
        make_job("failed", attempt=1, finished_at=ended, place=1, **of)
        if key != "b":
            make_job("blocked", waits_for="lane", **of)


def closed_limit() -> None:
    make_worker()
    LimitOverride.objects.create(key="api", is_prefix=True, at_once=0, changed_at=clock.now())
    make_job("blocked", waits_for="lane", lane="api:a", lane_mode="wait", at_once=2)


SITES: list[tuple[str, Callable[[], Any], Problems]] = [
    ("nothing is wrong", make_worker, set()),
    ("no worker", lambda: None, {("critical", "no-worker")}),
    ("dead worker", dead_worker, {("critical", "no-worker"), ("warning", "late-worker")}),
    ("lost worker", lost_worker, {("critical", "no-worker"), ("warning", "lost-worker")}),
    ("broken processes", broken_processes, {("critical", "not-starting")}),
    ("orphaned jobs", orphaned_jobs, {("warning", "orphaned"), ("warning", "lost-worker")}),
    ("paused queue", paused_queue, {("warning", "paused")}),
    ("overdue schedule", lambda: overdue_schedule(20), {("warning", "overdue")}),
    ("no maintenance", lambda: overdue_schedule(90), {("critical", "overdue")}),
    ("many failures", many_failures, {("warning", "failed")}),
    ("one failure", one_failure, {("info", "failed")}),
    ("mail server away", mail_server_away, {("warning", "retrying")}),
    ("running in a queue that no row names", running_in_a_queue_that_no_row_names, set()),
    ("worker of all queues", worker_of_all_queues, set()),
    (
        "unserved queue",
        unserved_queue,
        {("warning", "unserved"), ("warning", "orphaned"), ("warning", "lost-worker")},
    ),
    ("overrun", overrun, {("warning", "overrun")}),
    ("held job", held_job, {("warning", "held")}),
    ("unknown backend", unknown_backend, {("warning", "unknown-backend")}),
    ("late schedule", late_schedule, {("warning", "schedule-late")}),
    (
        "schedule of a task that is gone",
        schedule_of_a_task_that_is_gone,
        {("warning", "schedule-unknown-task")},
    ),
    (
        "schedule that the code does not declare any more",
        schedule_that_the_code_does_not_declare_any_more,
        {("info", "schedule-undeclared")},
    ),
    (
        "failing schedule",
        failing_schedule,
        {("info", "schedule-failing"), ("info", "failed")},
    ),
    ("refused schedule", refused_schedule, {("warning", "schedule-refused")}),
    ("ended schedule", ended_schedule, {("warning", "schedule-ended")}),
    ("held sequence", held_sequence, {("warning", "sequence-held"), ("info", "failed")}),
    ("closed limit", closed_limit, {("warning", "limit-closed")}),
    ("paused schedules", paused_schedules, {("info", "schedule-paused")}),
]


@pytest.mark.long(after=10)
@pytest.mark.parametrize(
    ("make", "problems"), [site[1:] for site in SITES], ids=[site[0] for site in SITES]
)
def test_all_say_the_same_of_a_broken_site(
    make: Callable[[], Any],
    problems: Problems,
    admin_client: Client,
    machine: Client,
    redis_client: redis.Redis,
) -> None:
    make()
    assert_all_say(problems, admin_client, machine)


@pytest.mark.parametrize(
    ("make", "problems"),
    [
        (lambda: None, {("info", "inline")}),
        (make_worker, {("info", "inline")}),
        (
            lambda: make_job("queued", enqueued_at=clock.now() - timedelta(minutes=2)),
            {("info", "inline"), ("warning", "unserved")},
        ),
        (
            lambda: make_job("scheduled", run_after=clock.now() - timedelta(minutes=2)),
            {("info", "inline"), ("critical", "no-worker")},
        ),
        (
            lambda: make_job("running", worker=INLINE_WORKER, started_at=clock.now()),
            {("info", "inline")},
        ),
    ],
    ids=["no worker", "a worker", "queued", "overdue", "runs inline"],
)
def test_all_say_that_the_mode_is_inline_and_what_still_needs_a_worker(
    make: Callable[[], Any],
    problems: Problems,
    admin_client: Client,
    machine: Client,
    settings: Settings,
) -> None:
    entry = settings.TASKS["default"]
    settings.TASKS = {"default": {**entry, "OPTIONS": {**entry["OPTIONS"], "mode": "inline"}}}
    make()
    assert_all_say(problems, admin_client, machine)


def test_all_say_the_same_without_redis(
    admin_client: Client, machine: Client, own_redis: RedisServer
) -> None:
    make_worker()
    own_redis.kill()
    assert_all_say({("warning", "no-redis")}, admin_client, machine)
    response = machine.get("/jobs/readyz")
    assert response.status_code == 503
    assert response.json()["backends"]["default"] == [
        f"{problem['what']} {problem['cure']}" for problem in bgstatus()[0]
    ]


def test_all_say_the_same_of_the_health_of_workers(
    admin_client: Client, machine: Client, redis_client: redis.Redis
) -> None:
    make_worker(hostname="web1")
    make_worker(hostname="web2", last_seen_at=clock.now() - timedelta(seconds=90))
    make_worker(hostname="web3", lost_at=clock.now())
    make_worker(hostname="web4", stopped_at=clock.now())
    out = StringIO()
    with pytest.raises(SystemExit):
        call_command("bgstatus", "--json", stdout=out)
    workers = json.loads(out.getvalue())["workers"]
    healths = {worker["hostname"]: worker["health"] for worker in workers}
    assert healths == {"web1": "alive", "web2": "late", "web3": "lost"}
    for name in ("worker", "dashboard"):
        html = admin_client.get(f"/admin/django_bgtasks/{name}/").content.decode()
        for host, health in healths.items():
            badge = rf"{host}:42</a>.{{0,80}}bgtasks-is-(\w+)"
            assert re.findall(badge, html, re.DOTALL) == [health]
    found = metrics(machine)
    assert [found["bgtasks_workers", "default", kind] for kind in healths.values()] == [1, 1, 1]
    assert "1 worker is alive." in bgdoctor()[2]
    assert machine.get("/jobs/healthz").status_code == 200


def test_the_sites_own_code_is_told_how_a_backend_stands() -> None:
    assert (workers(), is_served("emails"), oldest_age("emails")) == ((), False, None)
    make_worker(queues=["default"])
    lost = make_worker(hostname="db2", queues=["emails"], lost_at=clock.now())
    assert {worker.name: worker.health for worker in workers()} == {
        "db1:42": "alive",
        "db2:42": "lost",
    }
    assert (is_served(), is_served("default"), is_served("emails")) == (True, True, False)
    for minutes in (1, 9, 5):
        make_job(queue="emails", enqueued_at=clock.now() - timedelta(minutes=minutes))
    make_job("scheduled", queue="reports", run_after=clock.now() + timedelta(hours=1))
    make_job("running", queue="reports", worker=lost.pk)
    depths = queue_depths()
    assert depths == {"default": 0, "emails": 3, "reports": 0, "uploads": 0}
    age = oldest_age("emails")
    assert age is not None
    assert 540 <= age < 900
    assert (oldest_age("reports"), oldest_age("no such queue")) == (None, None)
    make_worker(serves_all=True)
    assert is_served("emails")
    with pytest.raises(ImproperlyConfigured, match="no entry 'gone'"):
        is_served("emails", backend="gone")


def assert_all_say(problems: Problems, admin_client: Client, machine: Client) -> None:
    """The dashboard, `bgstatus`, `bgdoctor`, `healthz` and Prometheus, in codes and levels."""
    order = list(EXIT_CODES)
    level = max((level for level, _ in problems), key=order.index, default="ok")
    found, exit_code = bgstatus()
    assert {(problem["level"], problem["code"]) for problem in found} == problems
    assert exit_code == EXIT_CODES[level]

    html = admin_client.get("/admin/django_bgtasks/dashboard/").content.decode()
    levels = {"failed": "critical", "late": "warning", "info": "info"}
    assert {(levels[kind], code) for code, kind in PROBLEM.findall(html)} == problems

    findings, exit_code, _ = bgdoctor()
    assert findings == {(problem["level"], timeless(problem["what"])) for problem in found}
    assert exit_code == (level == "critical")

    response = machine.get("/jobs/healthz")
    assert response.status_code == (503 if level == "critical" else 200)
    assert [timeless(text) for text in response.json()["backends"]["default"]] == [
        timeless(f"{problem['what']} {problem['cure']}")
        for problem in found
        if problem["level"] == "critical"
    ]

    assert_status_api_says(bgstatus_figures())

    series = [key for key in metrics(machine) if key[0] == "bgtasks_problems"]
    assert {(level, code) for _, _, code, level in series} == problems


def assert_status_api_says(figures: dict[str, Any]) -> None:
    """What the site's own code is told is what `bgstatus` shows."""
    shown = {(worker["id"], worker["health"]) for worker in figures["workers"]}
    assert {(worker.id, worker.health) for worker in workers()} == shown
    depths = queue_depths()
    queues = {queue["name"]: queue for queue in figures["queues"]}
    assert {name: depths.get(name, 0) for name in queues} == {
        name: queue["queued"] for name, queue in queues.items()
    }
    for name, queue in queues.items():
        age = oldest_age(name)
        assert (age is None) == (not queue["queued"])
        assert age is None or abs(age - queue["oldest"]) < 60
    unserved = {p["params"]["queue"] for p in figures["problems"] if p["code"] == "unserved"}
    if not figures["inline"]:
        assert not any(map(is_served, unserved))
        assert figures["alive"] or not any(map(is_served, queues))


def bgstatus_figures() -> dict[str, Any]:
    out = StringIO()
    with suppress(SystemExit):
        call_command("bgstatus", "--json", stdout=out)
    figures: dict[str, Any] = json.loads(out.getvalue())
    return figures


def bgstatus() -> tuple[list[dict[str, str]], int]:
    """Its problems and its exit code."""
    out = StringIO()
    try:
        call_command("bgstatus", "--json", stdout=out)
    except SystemExit as leaving:
        return json.loads(out.getvalue())["problems"], int(str(leaving.code))
    return json.loads(out.getvalue())["problems"], 0


def bgdoctor() -> tuple[Problems, int, str]:
    """What it finds wrong with the running site, with its levels; its exit code and its text."""
    out = StringIO()
    code = 0
    try:
        call_command("bgdoctor", stdout=out, no_color=True)
    except SystemExit as leaving:
        code = int(str(leaving.code))
    found = re.findall(r"^(error|warn|info) +(.*)$", out.getvalue(), re.MULTILINE)
    levels = {"error": "critical", "warn": "warning", "info": "info"}
    problems = {(levels[kind], timeless(text)) for kind, text in found}
    # About the deployment, and not about what runs.
    return problems - {("warning", "Redis has no password.")}, code, out.getvalue()


def metrics(machine: Client) -> dict[Any, float]:
    """The value of each series: its name, then its labels in the order of their names."""
    text = machine.get("/jobs/metrics").content.decode()
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def timeless(text: str) -> str:
    """A text without its numbers: durations grow between two looks."""
    return re.sub(r"\d[\d.]*( (ms|s|min|h)\b)?", "0", text)
