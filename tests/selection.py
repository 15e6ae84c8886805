"""Which tests a run leaves out: all, a part or none of the fault plan, and other databases' tests.

BGTASKS_TEST_FAULTS=all is for `tox run -e faults`: the long cases too.
Without it the long cases are left out.
BGTASKS_TEST_FAULTS=none is for further versions of Python and Django: no case of the plan, no
search of the model, no other kills and slow tests.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

DATABASE = os.environ.get("BGTASKS_TEST_DB", "sqlite")
FAULTS = os.environ.get("BGTASKS_TEST_FAULTS", "")
PLAN = {Path(__file__).with_name("faults"), Path(__file__).with_name("model")}
# The plan is about PostgreSQL and SQLite: on MariaDB only what tasks do to their session is tried.
ON_MARIADB = {
    *("test_coroutines.py", "test_other_places.py", "test_session_abuse.py"),
    "test_settlements.py",
}


def is_left_out(item: pytest.Item) -> bool:
    """Whether this run leaves this test out."""
    marks = {mark.name for mark in item.iter_markers()}
    if "long" in marks and FAULTS != "all":
        return True
    if PLAN.intersection(item.path.parents):
        return item.path.name not in ON_MARIADB if DATABASE == "mysql" else FAULTS == "none"
    return FAULTS == "none" and not marks.isdisjoint({"faults", "slow"})


def skip_elsewhere(item: pytest.Item) -> None:
    """Skip a test that is about another database."""
    wanted = {name for name in ("sqlite", "postgres", "mysql") if item.get_closest_marker(name)}
    if wanted and DATABASE not in wanted:
        pytest.skip(f"needs {' or '.join(sorted(wanted))}")
