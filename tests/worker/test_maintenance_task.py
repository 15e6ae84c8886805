"""A background task: when it is due, and what becomes of one that fails."""

from __future__ import annotations

import logging

import pytest
from django.db import OperationalError

from django_bgtasks.worker.maintenance.process import MaintenanceTask


class Wrong:
    """A task that fails with these errors, one after another, and then works."""

    def __init__(self, *errors: Exception) -> None:
        self.errors, self.runs = list(errors), 0

    def run_once(self) -> float:
        self.runs += 1
        if self.errors:
            raise self.errors.pop(0)
        return 60.0


@pytest.mark.parametrize("error", [OperationalError("gone"), RuntimeError("a mistake")])
def test_a_task_that_fails_says_so_and_is_tried_again(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = Wrong(error)
    task = MaintenanceTask("sweep the yard", 0.0, wrong.run_once)
    with caplog.at_level(logging.WARNING, logger="django_bgtasks"):
        task.run()
        task.run()
    assert wrong.runs == 2
    assert "Maintenance could not sweep the yard" in caplog.text


def test_a_database_that_stays_away_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    wrong = Wrong(*[OperationalError("gone")] * 3)
    task = MaintenanceTask("sweep the yard", 0.0, wrong.run_once)
    with caplog.at_level(logging.WARNING, logger="django_bgtasks"):
        for _ in range(4):
            task.run()
    assert caplog.text.count("Maintenance could not sweep the yard") == 1


def test_a_task_is_not_run_before_it_is_due() -> None:
    wrong = Wrong()
    task = MaintenanceTask("sweep the yard", 0.0, wrong.run_once)
    task.run()
    task.run()
    assert wrong.runs == 1
