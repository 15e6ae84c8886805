"""`--reload`: code that changes is run, and code that does not load is waited out."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.workers import WorkerFactory

from .jobs import wait_for_state

SETTINGS = """
from tests.settings import *
INSTALLED_APPS = [*INSTALLED_APPS, "bookshop"]
"""
PICKLES = '{"SERIALIZER": "django_redis.serializers.pickle.PickleSerializer"}'
TASKS = """
from django_bgtasks import task

@task
def version():
    return {version}
"""


@pytest.fixture
def bookshop(tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """An app with a task, and a function that edits it."""
    app = tmp_path / "bookshop"
    app.mkdir()
    (app / "__init__.py").touch()
    (tmp_path / "bookshop_settings.py").write_text(SETTINGS)
    stamp = [1_000_000_000]

    def edit(version: str) -> None:
        file = app / "tasks.py"
        file.write_text(TASKS.format(version=version))
        # Two edits of the same length in one run_once of the clock would look like none.
        stamp[0] += 10
        os.utime(file, (stamp[0], stamp[0]))

    edit("1")
    sys.path.insert(0, str(tmp_path))
    yield edit
    sys.path.remove(str(tmp_path))
    for name in ("bookshop.tasks", "bookshop"):
        sys.modules.pop(name, None)


@pytest.mark.long
def test_a_change_restarts_the_worker_and_a_syntax_error_waits_for_the_next(
    bgworker: WorkerFactory, bookshop: Callable[[str], None], tmp_path: Path
) -> None:
    version: Any = importlib.import_module("bookshop.tasks").version
    env = {"PYTHONPATH": str(tmp_path), "DJANGO_SETTINGS_MODULE": "bookshop_settings"}
    env["BGTASKS_TEST_CACHE_OPTIONS"] = PICKLES
    worker = bgworker("--reload", env=env)
    assert wait_for_state(version.enqueue(), "succeeded").result == 1
    bookshop("2")
    worker.wait_for(
        re.compile(r"tasks\.py changed; starting again\..*^bgworker ", re.MULTILINE | re.DOTALL)
    )
    assert wait_for_state(version.enqueue(), "succeeded").result == 2
    # Advice on the settings is given once.
    assert worker.output.count("docs/security.md#a-redis-user") == 1
    bookshop("3 +")
    worker.wait_for("SyntaxError")
    worker.wait_for("It starts again when a file changes.")
    job = version.enqueue()
    bookshop("4")
    assert wait_for_state(job, "succeeded").result == 4
    assert worker.stop() == 0
