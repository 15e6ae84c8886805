"""How many files of the package one job enters: who reads the code follows a short line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest
import redis

import django_bgtasks
from django_bgtasks.models import Job
from django_bgtasks.sandbox import restore
from django_bgtasks.transport.queues import mark
from django_bgtasks.worker.config import WorkerConfig
from django_bgtasks.worker.job_process import JobProcess
from django_bgtasks.worker.shared_state import SharedState
from tests.app.tasks import add, fail
from tests.named import namespace

# Where the ledger has statements of its own.
pytestmark = [
    pytest.mark.sqlite,
    pytest.mark.postgres,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("no_middleware"),
]
PACKAGE = Path(django_bgtasks.__file__).parent


@pytest.fixture
def process(redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[JobProcess]:
    """A job process of a worker that Redis has heard of, and that puts back what a task changes."""
    mark(namespace(), "", redis_client)
    for state in ("_process", "_log"):
        monkeypatch.setattr(restore, state, [])
    restore.remember_process(".")
    process = JobProcess(WorkerConfig("default", "default", queues=("default",)), SharedState())
    yield process
    process.fetcher.leave()


def run(process: JobProcess, enqueue: Callable[[], object]) -> None:
    """Enqueue one job, and have it run and settled."""
    enqueue()
    while not process.step():
        continue


def files_entered(act: Callable[[], object]) -> set[str]:
    """The files of the package of which act() calls a function."""
    entered: set[str] = set()

    def note(frame: FrameType, event: str, arg: object) -> None:
        if event == "call":
            entered.add(frame.f_code.co_filename)

    sys.setprofile(note)
    try:
        act()
    finally:
        sys.setprofile(None)
    paths = map(Path, entered)
    return {str(path.relative_to(PACKAGE)) for path in paths if path.is_relative_to(PACKAGE)}


def test_a_warm_job_enters_at_most_18_files(process: JobProcess) -> None:
    for _ in range(3):
        run(process, lambda: add.enqueue(1, 2))
    entered = files_entered(lambda: run(process, lambda: add.enqueue(1, 2)))
    assert set(Job.objects.values_list("state", flat=True)) == {"succeeded"}
    assert len(entered) <= 18, sorted(entered)


def test_a_failed_attempt_enters_at_most_20_files(process: JobProcess) -> None:
    for _ in range(3):
        run(process, fail.enqueue)
    entered = files_entered(lambda: run(process, fail.enqueue))
    assert set(Job.objects.values_list("state", flat=True)) == {"failed"}
    assert len(entered) <= 20, sorted(entered)
