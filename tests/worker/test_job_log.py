"""The logs of jobs that run side by side, and what is left of one whose process is killed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from django_bgtasks.models import AttemptLog
from tests.app import logged
from tests.waiting import wait_until
from tests.workers import WorkerFactory

from .jobs import row, unfinished, wait_for_state

MANY = 12


def texts(result: Any) -> list[str]:
    return [line[-1] for line in AttemptLog.objects.get(job=result.id).lines]


@pytest.mark.parametrize(
    ("task", "options", "ends"),
    [
        pytest.param(
            logged.says_side_by_side,
            (),
            ["thread {}", "child {}", "child {}"],
            id="coroutines",
        ),
        pytest.param(logged.says_in_threads, ("--threads", MANY), ["end {}"], id="threads"),
    ],
)
def test_the_lines_of_jobs_side_by_side_do_not_mix(
    bgworker: WorkerFactory, tmp_path: Path, task: Any, options: Any, ends: list[str]
) -> None:
    bgworker(*options)
    jobs = task.enqueue_many([(f"n{n}", str(tmp_path / "gate"), MANY) for n in range(MANY)])
    wait_until(lambda: unfinished() == 0, 30)
    for number, job in enumerate(jobs):
        name = f"n{number}"
        assert row(job).state == "succeeded", row(job).error
        assert texts(job) == [f"begin {name}", *(text.format(name) for text in ends)]


def test_after_a_kill_there_are_the_lines_up_to_the_last_progress(bgworker: WorkerFactory) -> None:
    bgworker()
    result = logged.says_and_dies.enqueue()
    wait_for_state(result, "failed")
    assert texts(result) == ["before the progress"]
