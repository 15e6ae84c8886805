"""What every case of the fault plan gets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workers import WorkerFactory

from .case import Case
from .effects import VARIABLE, EffectsLog
from .moves import moves_logged


@pytest.fixture
def effects_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EffectsLog:
    """The effects log of this case."""
    path = tmp_path / "effects.log"
    monkeypatch.setenv(VARIABLE, str(path))
    return EffectsLog(path)


@pytest.fixture
def case(bgworker: WorkerFactory, effects_log: EffectsLog) -> Iterator[Case]:
    """A case; when its test has passed, the oracle judges what is left."""
    with moves_logged():
        made = Case(bgworker, effects_log)
        yield made
        made.close()


@pytest.fixture
def no_traceback(case: Case) -> Iterator[None]:
    """For cases in which nothing goes wrong inside of a worker: none of them prints a traceback."""
    yield
    assert not [worker.output for worker in case.workers if "Traceback" in worker.output]
