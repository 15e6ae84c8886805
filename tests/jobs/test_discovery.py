"""Which modules of the apps are imported for their tasks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from pytest_django import Settings

from django_bgtasks.jobs import discovery, task
from django_bgtasks.jobs.discovery import discover_tasks

OURS = "django_bgtasks.backend.RQBackend"
MODULE = "tests.app.handlers"


@pytest.fixture(autouse=True)
def nothing_imported(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Iterator[None]:
    """A site with two backends, one of which has tasks in modules of another name."""
    monkeypatch.setattr(discovery, "_imported", set())
    sys.modules.pop(MODULE, None)
    plain: dict[str, Any] = {"BACKEND": OURS, "QUEUES": [], "OPTIONS": {}}
    handling = {**plain, "OPTIONS": {"modules": ["handlers"]}}
    settings.TASKS = {"default": plain, "handling": handling}
    before = {name: set(queues) for name, queues in task._declared.items()}
    yield
    task._declared.clear()
    task._declared.update(before)
    sys.modules.pop(MODULE, None)


def test_a_backend_imports_the_modules_that_its_options_name_and_no_others() -> None:
    discover_tasks("default")
    assert MODULE not in sys.modules
    discover_tasks("handling")
    assert MODULE in sys.modules
    assert "handled" in task.queues_of("default")


def test_who_asks_for_all_gets_those_of_all_backends() -> None:
    discover_tasks()
    assert MODULE in sys.modules


@pytest.mark.django_db
def test_a_command_knows_the_queues_of_these_modules() -> None:
    with pytest.raises(CommandError, match="Unknown queue: handled"):
        call_command("bgpause", "handled", backend="default", stdout=StringIO())
    out = StringIO()
    discover_tasks("handling")
    call_command("bgpause", "handled", backend="default", stdout=out)
    assert "handled is paused." in out.getvalue()
