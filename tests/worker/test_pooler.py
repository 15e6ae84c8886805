"""Behind PgBouncer in transaction mode all works, with the settings of a site that forgot it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import DatabaseError, connection, connections, transaction

from django_bgtasks.ledger import pooler, queues
from django_bgtasks.management.doctor import examine
from django_bgtasks.models import Job, Worker
from django_bgtasks.monitoring.problems import Level
from testproject.servers import PgBouncerServer, ServerMissing
from tests.app.tasks import add
from tests.threads import in_threads
from tests.waiting import wait_until
from tests.workers import WorkerFactory

pytestmark = [pytest.mark.postgres, pytest.mark.usefixtures("transactional_db")]
# Wanted by CI; elsewhere its absence is no failure.
WANTED = "BGTASKS_TEST_PGBOUNCER"


@pytest.fixture
def pgbouncer(transactional_db: None) -> Iterator[PgBouncerServer]:
    """One before this test's database."""
    server = PgBouncerServer(dict(connection.settings_dict))
    try:
        server.start()
    except ServerMissing:
        if os.environ.get(WANTED) == "required":
            raise
        pytest.skip("needs PgBouncer")
    yield server
    connections.close_all()
    server.stop()


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a new process."""
    monkeypatch.setattr(pooler, "_found", {})


@contextmanager
def site_behind(server: PgBouncerServer) -> Iterator[None]:
    """Within it, this site's connections go through it."""
    current, before = connection.settings_dict, dict(connection.settings_dict)
    connections.close_all()
    current.update({key: server.settings[key] for key in ("HOST", "PORT")})
    try:
        yield
    finally:
        connections.close_all()
        current.update(before)


def enqueue_some() -> None:
    for number in range(10):
        add.enqueue(number, 1)
    add.enqueue_many([(number, 1) for number in range(10)])


def test_all_jobs_of_a_site_and_a_worker_behind_it_run(
    pgbouncer: PgBouncerServer, bgworker: WorkerFactory
) -> None:
    env = {"BGTASKS_TEST_POSTGRES_URL": pgbouncer.url}
    workers = [bgworker("--processes", 2, "--threads", 2, env=env) for _ in range(2)]
    with site_behind(pgbouncer):
        in_threads(*[enqueue_some] * 5)
        wait_until(lambda: not Job.objects.exclude(state="succeeded").exists(), 30)
        assert Job.objects.count() == 100
        wait_until(lambda: Worker.objects.count() == 2)
        assert not Worker.objects.exclude(processes_lost=0).exists()
        assert settings_of_sessions() == {("0", "0")}
    for worker in workers:
        assert worker.stop() == 0
        assert worker.output.count("A pooler, such as PgBouncer, stands before the database") == 1
        assert "DISABLE_SERVER_SIDE_CURSORS" in worker.output
        for wrong in ("Traceback", "prepared statement", "could not", "did not answer"):
            assert wrong not in worker.output


def settings_of_sessions() -> set[tuple[str, ...]]:
    """What the sessions of the pool have been told, as far as they can be met."""

    def read() -> tuple[str, ...]:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                "SELECT current_setting('lock_timeout'), "
                "current_setting('idle_in_transaction_session_timeout'), pg_sleep(0.05)"
            )
            return tuple(cursor.fetchone()[:2])

    return set(in_threads(*[read] * 4))


def test_what_waits_is_read_without_a_cursor_of_a_session(pgbouncer: PgBouncerServer) -> None:
    with site_behind(pgbouncer):
        results = add.enqueue_many([(number, 1) for number in range(2500)])
        found = in_threads(*[lambda: list(queues.queued_jobs("default", "default"))] * 4)
        assert [len(jobs) for jobs in found] == [len(results)] * 4


def test_one_that_comes_later_is_noticed_by_what_fails(
    pgbouncer: PgBouncerServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(pooler, "_has_another_pid", lambda connection: False)
    with site_behind(pgbouncer):
        in_threads(*[enqueue_some] * 8)
        assert Job.objects.count() == 160
    assert caplog.text.count("A pooler, such as PgBouncer, stands before") == 1


def test_within_a_transaction_it_is_the_callers_error_and_the_next_one_is_fine(
    pgbouncer: PgBouncerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pooler, "_has_another_pid", lambda connection: False)
    with site_behind(pgbouncer):
        with transaction.atomic():
            add.enqueue(1, 1)
        with connection.cursor() as cursor:
            # As if the next transaction came to another server process.
            cursor.execute("DEALLOCATE ALL")
        with pytest.raises(DatabaseError, match="prepared statement"), transaction.atomic():
            add.enqueue(2, 1)
        with transaction.atomic():
            add.enqueue(3, 1)
        assert sorted(Job.objects.values_list("args", flat=True)) == [[1, 1], [3, 1]]


def test_bgdoctor_says_that_it_is_there_and_what_to_set(
    pgbouncer: PgBouncerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found() -> Any:
        findings = examine("default", "default")
        return [one for one in findings if "A pooler, such as PgBouncer" in one.what]

    assert found() == []
    with site_behind(pgbouncer):
        [finding] = found()
        assert finding.level != Level.CRITICAL
        assert "DISABLE_SERVER_SIDE_CURSORS" in finding.cure
        monkeypatch.setitem(connection.settings_dict, "DISABLE_SERVER_SIDE_CURSORS", True)
        [finding] = found()
        assert finding.ok
