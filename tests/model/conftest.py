"""The long searches are left to `tox run -e faults`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave them out, unless BGTASKS_TEST_FAULTS=all."""
    if os.environ.get("BGTASKS_TEST_FAULTS") == "all":
        return
    here = Path(__file__).parent
    long = [i for i in items if here in i.path.parents and i.get_closest_marker("long")]
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]
