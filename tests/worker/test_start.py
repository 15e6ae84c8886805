"""What a worker cannot work with is said at its start, with the cure."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from pytest_django import Settings

from django_bgtasks.worker.preflight import unapplied
from tests.workers import ROOT, WorkerFactory, environment


@pytest.fixture
def empty_database(transactional_db: None, tmp_path: Path) -> Iterator[str]:
    """The name of a database without tables."""
    if connection.vendor == "sqlite":
        yield str(tmp_path / "empty.sqlite3")
        return
    name = f"{connection.settings_dict['NAME']}_empty"
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
    yield name
    with connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE {name}")


def test_an_unknown_queue_is_refused_with_the_known_ones(bgworker: WorkerFactory) -> None:
    worker = bgworker("emials", fresh=True)
    assert worker.wait() == 1
    assert (
        "CommandError: Unknown queue: emials. TASKS['default']['QUEUES'] has "
        "default, emails, reports, uploads." in worker.output
    )
    assert "Traceback" not in worker.output


def test_an_unknown_backend_is_refused_with_the_known_ones(bgworker: WorkerFactory) -> None:
    worker = bgworker("--backend", "dfault", fresh=True)
    assert worker.wait() == 1
    assert "TASKS has no entry 'dfault'" in worker.output
    assert "entries with that backend are: default." in worker.output
    assert "Traceback" not in worker.output


def test_a_database_without_migrations_is_named_with_the_command_to_run(
    bgworker: WorkerFactory, empty_database: str
) -> None:
    worker = bgworker(env={"BGTASKS_TEST_DB_NAME": empty_database})
    assert worker.wait() not in (0, None)
    assert "Run: python manage.py migrate" in worker.output
    assert "0001_initial" in worker.output
    assert "Traceback" not in worker.output


def test_a_look_at_the_database_that_is_killed_is_taken_again(
    bgworker: WorkerFactory, tmp_path: Path
) -> None:
    nowhere = "test_nowhere" if connection.vendor != "sqlite" else str(tmp_path / "no" / "db")
    worker = bgworker(env={"BGTASKS_TEST_DB_NAME": nowhere})
    worker.wait_for("The database does not answer")
    psutil.Process(worker.pid).children()[0].kill()
    worker.wait_for("database has ended (The process was killed by SIGKILL.); looking again.")
    worker.wait_for(re.compile("looking again.*The database does not answer", re.DOTALL))


@pytest.mark.parametrize("arguments", [("--processes", 0), ("--max-jobs", "x"), ("--grace", -1)])
def test_an_option_out_of_range_is_refused(
    bgworker: WorkerFactory, arguments: tuple[object, ...]
) -> None:
    worker = bgworker(*arguments)
    assert worker.wait() in (1, 2)
    assert str(arguments[0]) in worker.output
    assert "Traceback" not in worker.output


@pytest.mark.django_db
def test_a_migration_that_the_database_does_not_record_is_missing() -> None:
    assert unapplied("default") == []
    MigrationRecorder(connection).record_unapplied("django_bgtasks", "0001_initial")
    assert unapplied("default") == ["0001_initial"]


@pytest.mark.django_db
def test_an_app_that_the_settings_leave_without_migrations_misses_none(
    settings: Settings,
) -> None:
    MigrationRecorder(connection).record_unapplied("django_bgtasks", "0001_initial")
    settings.MIGRATION_MODULES = {"django_bgtasks": None}
    assert unapplied("default") == []


LOADED = """
import sys, django
django.setup()
import django_bgtasks.management.commands.bgworker
print(*sys.modules)
"""


def test_a_worker_loads_nothing_of_databases_that_its_site_does_not_have() -> None:
    command = [sys.executable, "-c", LOADED]
    done = subprocess.run(command, cwd=ROOT, env=environment(), check=True, capture_output=True)
    loaded = done.stdout.decode().split()
    assert "django_bgtasks.worker.supervisor" in loaded
    of_sqlite = connection.vendor == "sqlite"
    assert ("psycopg" in loaded) == (connection.vendor == "postgresql")
    assert of_sqlite or "django_bgtasks.ledger.sqlite_locking" not in loaded
