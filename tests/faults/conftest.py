"""What every case of the fault plan gets."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workers import WorkerFactory

from .case import Case
from .effects import VARIABLE, EffectsLog
from .moves import moves_logged

WHICH = "BGTASKS_TEST_FAULTS"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long cases to `tox run -e faults`, which sets BGTASKS_TEST_FAULTS=all.

    With "none" there are no cases at all, and no search of the model: for the further versions of
    Python and Django. The plan is about PostgreSQL and SQLite: on MariaDB it is left out.
    """
    wanted = "none" if os.environ.get("BGTASKS_TEST_DB") == "mysql" else os.environ.get(WHICH)
    here = Path(__file__).parent
    plan = {here, here.parent / "model"}
    cases = [item for item in items if plan.intersection(item.path.parents)]
    long = [item for item in cases if item.get_closest_marker("long")]
    left_out = {"all": [], "none": cases}.get(wanted or "", long)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


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
