"""A site without Redis, on purpose or while it is written: nobody looks for one, all else holds."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection as database
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from django_bgtasks.jobs.actions import cancel_job, pause_queue
from django_bgtasks.models import Job
from django_bgtasks.testing import without_redis
from django_bgtasks.transport import connection
from django_bgtasks.transport.connection import uses_redis
from django_bgtasks.worker import served_queues
from django_bgtasks.worker.config import WorkerConfig
from django_bgtasks.worker.job_process import JobProcess
from django_bgtasks.worker.maintenance import promote
from django_bgtasks.worker.maintenance.handle import MaintenanceHandle
from django_bgtasks.worker.maintenance.process import MaintenanceProcess
from django_bgtasks.worker.shared_state import SharedState
from testproject.servers import RedisServer
from testproject.servers.processes import free_port
from tests.app.tasks import add
from tests.named import waiting_in
from tests.statements import statements

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("no_middleware"),
]
DB = "default"
LOCAL = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
Given = Callable[..., None]


@pytest.fixture
def given(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Given:
    """Set OPTIONS, DEBUG, CACHES and REDIS_URL; what is not given is as in a new project."""

    def change(
        *, debug: bool = False, caches: Any = LOCAL, url: str | None = None, **options: Any
    ) -> None:
        monkeypatch.delenv("REDIS_URL", raising=False)
        if url is not None:
            monkeypatch.setenv("REDIS_URL", url)
        settings.DEBUG, settings.CACHES = debug, caches
        entry = {**settings.TASKS["default"], "OPTIONS": options}
        settings.TASKS = {"default": entry, "archive": {**entry, "OPTIONS": {"redis_url": None}}}
        monkeypatch.setattr(connection, "DEFAULT_URL", f"redis://127.0.0.1:{free_port()}/0")

    return change


@pytest.fixture
def connects(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The addresses to which Python connects in this test; those of databases are not Python's."""
    addresses: list[Any] = []
    original = socket.socket.connect

    def connect(self: socket.socket, address: Any) -> None:
        addresses.append(address)
        original(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)
    return addresses


@pytest.fixture
def process() -> Iterator[JobProcess]:
    """A job process, of a worker that maintenance knows."""
    process = JobProcess(WorkerConfig(DB, DB), SharedState())
    yield process
    process.fetcher.leave()


def with_cache() -> Any:
    """CACHES with a Redis."""
    url = os.environ[RedisServer.variable]
    return {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": url}}


def test_none_wins_over_all_that_names_a_redis(given: Given) -> None:
    url = os.environ[RedisServer.variable]
    given(redis_url=None, caches=with_cache(), url=url)
    assert not uses_redis("default")
    given(redis_url=None, cache="default", caches=with_cache())
    assert not uses_redis("default")


@pytest.mark.parametrize("debug", [False, True])
def test_a_redis_that_is_named_is_used_though_nobody_may_be_there(
    given: Given, connects: list[Any], *, debug: bool
) -> None:
    nowhere = f"redis://127.0.0.1:{free_port()}/0"
    for named in (
        {"redis_url": nowhere}, {"redis_url": "", "url": nowhere}, {"url": nowhere},
        {"caches": with_cache()},
    ):  # fmt: skip
        given(debug=debug, **named)
        assert uses_redis("default")
    assert connects == []


@pytest.mark.parametrize("options", [{}, {"redis_url": ""}])
def test_where_none_is_named_a_site_under_development_needs_none(
    given: Given, options: dict[str, Any]
) -> None:
    given(debug=True, **options)
    assert not uses_redis("default")
    # A site that is deployed is meant to have one.
    given(debug=False, **options)
    assert uses_redis("default")


def test_an_option_is_for_its_backend_alone(given: Given) -> None:
    given(caches=with_cache())
    assert uses_redis("default")
    assert not uses_redis("archive")


def test_without_redis_nothing_connects_and_nothing_is_logged(
    given: Given,
    connects: list[Any],
    caplog: pytest.LogCaptureFixture,
    process: JobProcess,
) -> None:
    given(redis_url=None, caches=with_cache())
    add.enqueue(1, 2)
    add.using(queue_name="emails").enqueue_many([(1, 2), (3, 4)])
    while process.step():
        continue
    config, handle = WorkerConfig(DB, DB), MaintenanceHandle([])
    maintenance = MaintenanceProcess(config, handle.orders, handle.reports, [], float("-inf"))
    for task in maintenance.tasks:
        task.run()
    maintenance.heartbeat._beat()
    # One of its job processes has died, with nothing in its hands.
    death = {"pid": 1, "jobs": [], "number": 1, "end": {"code": "process_killed", "params": {}}}
    maintenance.orders.deaths.append(death)
    maintenance.deaths.run_once()
    assert set(Job.objects.values_list("state", flat=True)) == {"succeeded"}
    assert connects == []
    assert not [record for record in caplog.records if record.levelname != "INFO"]


@pytest.mark.parametrize("named", [(), ("default", "emails")])
def test_an_idle_look_is_one_statement_that_takes_no_lock(
    given: Given, named: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    given(redis_url=None)
    process = JobProcess(WorkerConfig(DB, DB, queues=named), SharedState())
    monkeypatch.setattr(process, "_pause", lambda seconds: None)
    process.step()
    for _ in range(3):
        # What the queues' pauses cost is asked twice a second by itself, where queues are named.
        process.queues._pauses_look_at = float("inf")
        with CaptureQueriesContext(database) as queries:
            process.step()
        assert statements(queries) == ["select"]


def test_a_queue_that_is_new_is_found_at_the_next_look_also_just_after_another(
    given: Given, settings: Settings, process: JobProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    given(redis_url=None)
    settings.TASKS = {"default": {**settings.TASKS["default"], "QUEUES": []}}
    # While there is work it is looked for them now and then.
    monkeypatch.setattr(served_queues, "DISCOVER_EVERY", 1e6)
    for queue in ("new", "newer"):
        job = add.using(queue_name=queue).enqueue(1, 2)
        assert process.step()
        assert Job.objects.get(pk=job.id).state == "succeeded"
        assert not process.step()


def test_a_paused_queue_waits_and_a_job_is_cancelled(given: Given, process: JobProcess) -> None:
    given(redis_url=None)
    pause_queue("emails")
    paused = add.using(queue_name="emails").enqueue(1, 2)
    assert not process.step()
    assert Job.objects.get(pk=paused.id).state == "queued"
    cancel_job(paused.id)
    assert Job.objects.get(pk=paused.id).state == "cancelled"


def test_a_burst_runs_what_maintenance_queues_while_it_looks_for_queues(
    given: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    given(redis_url=None)
    process = JobProcess(WorkerConfig(DB, DB, burst=True), SharedState())
    due = add.using(run_after=timezone.now() - timedelta(seconds=1)).enqueue(1, 2)
    look = process.queues.in_database

    def looked() -> tuple[str, ...]:
        names = look()
        promote.run_once(DB)
        return names

    monkeypatch.setattr(process.queues, "in_database", looked)
    while process.step():
        pass
    assert Job.objects.get(pk=due.id).state == "succeeded"


def test_a_redis_that_comes_later_is_used_and_none_of_its_jobs_is_left_behind(
    given: Given, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    given(debug=True)
    caplog.set_level("INFO", "django_bgtasks")
    process = JobProcess(WorkerConfig(DB, DB), SharedState())
    monkeypatch.setattr(process, "_pause", lambda seconds: None)
    add.enqueue(1, 2)
    assert process.step()
    assert not process.step()
    assert not [text for text in caplog.messages if "Redis" in text]
    with RedisServer(private=True) as server, server.client() as client:
        monkeypatch.setattr(connection, "DEFAULT_URL", server.url)
        # A site that has not noticed yet sends nothing: the worker looks into the database too.
        with without_redis():
            add.enqueue(3, 4)
        assert process.step()
        [line] = [text for text in caplog.messages if "Redis" in text]
        assert line.endswith("was found.")
        add.enqueue(5, 6)
        assert client.llen(waiting_in("default")) == 1
        process.fetcher.leave()
    assert Job.objects.filter(state="succeeded").count() == 2
    connection.drop_clients()
