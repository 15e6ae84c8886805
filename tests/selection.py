"""Which tests a run leaves out.

The long cases of the fault plan, and of the tests with real workers, are for `tox run -e faults`,
which sets BGTASKS_TEST_FAULTS=all.
`--part=database` is for a run beside one on SQLite: only what can differ on another database.
`--part=versions` is for further versions of Python and Django: of that, no case of the fault plan
and nothing slow, and of the tests with real workers those that run, wait side by side and stop.
On MariaDB only those cases of the plan run that are about what tasks do to their session.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

HERE = Path(__file__).parent
DATABASE = os.environ.get("BGTASKS_TEST_DB", "sqlite")
ALL = os.environ.get("BGTASKS_TEST_FAULTS") == "all"
PARTS = ("database", "versions")
PLAN = {HERE / "faults", HERE / "model"}
ON_MARIADB = {
    *("test_coroutines.py", "test_other_places.py", "test_session_abuse.py"),
    "test_settlements.py",
}
# About the text of this repository: the same wherever it runs.
TEXTS = {HERE / "docs", HERE / "test_floors.py", HERE / "test_selection.py"}
# It counts files, which no version changes, by a profile function, with which Python 3.11 may hang.
PATH = HERE / "jobs" / "test_path.py"
# About Python, processes, Redis, pages and settings: the same on each database.
NOT_THE_DATABASE = {
    *(HERE / name for name in ("contrib", "core", "model", "site")),
    *(
        HERE / "faults" / f"test_{name}.py"
        for name in (
            *("forged_messages", "kills_side_by_side", "payloads", "process_abuse"),
            *("redis_sentinel", "secrets_in_logs", "secrets_on_pages", "settings", "shared_redis"),
            *("task_endings", "task_leftovers", "values"),
        )
    ),
    *(
        HERE / "interfaces" / f"test_{name}.py"
        for name in (
            *("anymail", "bad_arguments", "checks", "idempotent_rest", "installed", "languages"),
            *("mail", "mail_delivery", "mailed_log", "plain_tasks", "queue_full", "streaming"),
            *("texts", "translations"),
        )
    ),
    HERE / "idempotency",
    *(
        HERE / "worker" / f"test_{name}.py"
        for name in (
            *(
                "fork",
                "frozen",
                "heartbeat_file",
                "limits",
                "neighbours",
                "new_queues",
                "output",
                "pipes",
            ),
            *("redis_forged", "redis_lost", "redis_refuses", "reload", "rq_tools", "signals"),
            *("heartbeat_file", "side_by_side_trouble", "start", "starting"),
        )
    ),
}
# Of the tests with real workers.
ON_EACH_VERSION = {
    "test_side_by_side.py",
    "test_database_threads.py",
    "test_running.py",
    "test_stop.py",
}


def is_left_out(item: pytest.Item, part: str | None) -> bool:
    """Whether this run leaves this test out."""
    places = {item.path, *item.path.parents}
    if item.get_closest_marker("long") and not ALL:
        return True
    if DATABASE == "mysql" and places & PLAN and item.path.name not in ON_MARIADB:
        return True
    if part == "database":
        return bool(places & (TEXTS | NOT_THE_DATABASE)) and not _is_for_this_database(item)
    return part == "versions" and not _is_for_each_version(item, places)


def _is_for_this_database(item: pytest.Item) -> bool:
    return item.get_closest_marker(DATABASE) is not None


def _is_for_each_version(item: pytest.Item, places: set[Path]) -> bool:
    if places & (TEXTS | PLAN | {PATH}) or any(map(item.get_closest_marker, ("faults", "slow"))):
        return False
    return HERE / "worker" not in places or item.path.name in ON_EACH_VERSION


def skip_elsewhere(item: pytest.Item) -> None:
    """Skip a test that is about another database."""
    wanted = {name for name in ("sqlite", "postgres", "mysql") if item.get_closest_marker(name)}
    if wanted and DATABASE not in wanted:
        pytest.skip(f"needs {' or '.join(sorted(wanted))}")
