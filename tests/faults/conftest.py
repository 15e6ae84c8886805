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
ON_MARIADB = (
    *("test_k_coroutines.py", "test_k_elsewhere.py", "test_k_sessions.py"),
    "test_k_settlement.py",
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long cases to `tox run -e faults`, which sets BGTASKS_TEST_FAULTS=all.

    With "none" there are no cases at all, no search of the model and no other kills and slow tests:
    for the further versions of Python and Django. The plan is about PostgreSQL and SQLite: on
    MariaDB only what tasks do to their session is tried.
    """
    wanted = os.environ.get(WHICH)
    left_out = {item for item in items if _is_left_out(item, wanted)}
    if left_out:
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]


def _is_left_out(item: pytest.Item, wanted: str | None) -> bool:
    here = Path(__file__).parent
    is_of_the_plan = bool({here, here.parent / "model"}.intersection(item.path.parents))
    if os.environ.get("BGTASKS_TEST_DB") == "mysql" and is_of_the_plan:
        return item.path.name not in ON_MARIADB or _is_long(item, wanted)
    if wanted == "none":
        return is_of_the_plan or any(map(item.get_closest_marker, ("faults", "slow")))
    return is_of_the_plan and _is_long(item, wanted)


def _is_long(item: pytest.Item, wanted: str | None) -> bool:
    return wanted != "all" and item.get_closest_marker("long") is not None


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
