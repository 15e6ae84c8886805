"""Which tests a run leaves out.

`@pytest.mark.long` is a test that takes seconds, and for whose promise others stand in everyday
runs; with `after=2` so are its cases behind the second. `tox run -e faults` has them: it sets
BGTASKS_TEST_FAULTS=all, and `--part=plan`, which is the fault plan, the tests with real workers and
whatever is long. `.ci/run browser unfold` has those of pages.
`--part=database` is for a run beside one on SQLite: only what can differ on another database. On
PostgreSQL not what `faults` or a further version has there as well, and of pages one case each.
`--part=versions` is for further versions of Python and Django: of that, no case of the fault plan
and nothing slow, and of the tests with real workers those that run, wait side by side and stop.
On MariaDB only those cases of the plan run that are about what tasks do to their session, and
those of schedules and limits.
`--part=sample` is the first case of each test of `versions`, on MariaDB of `database`, without
what takes long, and on MariaDB without pages: `.ci/run` has it beside a whole run. The same
environments by name have the whole.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

HERE = Path(__file__).parent
DATABASE = os.environ.get("BGTASKS_TEST_DB", "sqlite")
ALL = os.environ.get("BGTASKS_TEST_FAULTS") == "all"
PARTS = ("database", "versions", "sample", "plan")
PLAN = {HERE / "faults", HERE / "model"}
WHOLE_PLAN = PLAN | {
    *(HERE / "worker", HERE / "ledger" / "test_state_machine.py"),
    *(HERE / "workflows" / f"test_{name}.py" for name in ("races", "state_machine")),
}
ON_MARIADB = {
    *("test_coroutines.py", "test_other_places.py", "test_session_abuse.py"),
    *("test_limits.py", "test_schedules.py", "test_settlements.py"),
}
# About the text of this repository: the same wherever it runs.
TEXTS = {HERE / "docs", HERE / "test_floors.py", HERE / "test_selection.py"}
# It counts files, which no version changes, by a profile function, with which Python 3.11 may hang.
PATH = HERE / "jobs" / "test_path.py"
# About Python, processes, Redis, pages and settings: the same on each database.
NOT_THE_DATABASE = {
    *(HERE / name for name in ("contrib", "core", "model", "moving", "site")),
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
    HERE / "jobs" / "test_sender.py",
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
            *("side_by_side_trouble", "start", "starting", "stop_at_any_instant"),
        )
    ),
}
PAGES = HERE / "interfaces"
# The files of these with tests that are marked for a database, which run there.
MIXED = {"test_kills_side_by_side.py", "test_neighbours.py"}
# On PostgreSQL these run in `faults` too, or in an environment with another version.
ELSEWHERE_ON_POSTGRES = {
    *(
        HERE / "faults" / f"test_{name}.py"
        for name in ("held_jobs", "redis_losses", "redis_outages")
    ),
    HERE / "interfaces" / "test_own_database.py",
    HERE / "jobs" / "test_lost_messages.py",
    *(HERE / "worker" / f"test_{name}.py" for name in ("running", "side_by_side", "stop")),
}
# Of the tests with real workers.
ON_EACH_VERSION = {
    "test_side_by_side.py",
    "test_database_threads.py",
    "test_running.py",
    "test_stop.py",
}
# Long, and about more than the versions: in a sample they are left to runs that have all of them.
NOT_IN_A_SAMPLE = {
    *(HERE / name for name in ("conformance", "contrib", "idempotency", "model", "moving")),
    *(HERE / "workflows" / f"test_{name}.py" for name in ("races", "state_machine")),
    HERE / "ledger" / "test_state_machine.py",
    HERE / "interfaces" / "test_own_database.py",
    HERE / "jobs" / "test_lost_messages.py",
}


def whole(part: str | None) -> str | None:
    """The part of which this one is a sample, or itself."""
    if part == "sample":
        return "database" if DATABASE == "mysql" else "versions"
    return part


def file_is_left_out(path: Path, part: str | None) -> bool:
    """Whether this run has no test of this file: it need not be imported."""
    places = {path, *path.parents}
    if part == "sample" and (places & NOT_IN_A_SAMPLE or _has_other_workers(path)):
        return True
    if part == "sample" and DATABASE == "mysql" and PAGES in places:
        return True
    part = whole(part)
    if part == "database":
        elsewhere = DATABASE == "postgres" and path in ELSEWHERE_ON_POSTGRES
        return elsewhere or (bool(places & (TEXTS | NOT_THE_DATABASE)) and path.name not in MIXED)
    if part == "versions":
        return _has_other_workers(path) or bool(places & (TEXTS | PLAN | {PATH}))
    return False


def _has_other_workers(path: Path) -> bool:
    return HERE / "worker" in path.parents and path.name not in ON_EACH_VERSION


def left_out(items: Iterable[pytest.Item], part: str | None) -> set[pytest.Item]:
    """The tests that this run leaves out, of the files that it has."""
    cases: Counter[str] = Counter()
    sampled = set()
    out = set()
    for item in items:
        name, _, _ = item.nodeid.partition("[")
        cases[name] += 1
        if _is_left_out(item, cases[name], whole(part)):
            out.add(item)
        elif part == "sample":
            # Each promise of the ledger has two forms: see tests/ledger/conftest.py.
            one = (name, _parameters(item).get("form"))
            if one in sampled or _takes_long(item):
                out.add(item)
            sampled.add(one)
    return out


def _takes_long(item: pytest.Item) -> bool:
    return any(map(item.get_closest_marker, ("faults", "slow")))


def _parameters(item: pytest.Item) -> Mapping[str, object]:
    callspec = getattr(item, "callspec", None)
    return callspec.params if callspec else {}


def _is_left_out(item: pytest.Item, case: int, part: str | None) -> bool:
    marks = list(item.iter_markers("long"))
    if not ALL and any(case > mark.kwargs.get("after", 0) for mark in marks):
        return True
    if part == "plan":
        return not (marks or {item.path, item.path.parent} & WHOLE_PLAN)
    if DATABASE == "mysql" and item.path.parent in PLAN and item.path.name not in ON_MARIADB:
        return True
    if part == "database" and item.path.name in MIXED:
        return item.get_closest_marker(DATABASE) is None
    if (part, DATABASE) == ("database", "postgres") and case > 1 and item.path.parent == PAGES:
        return True
    return part == "versions" and _takes_long(item)


def skip_elsewhere(item: pytest.Item) -> None:
    """Skip a test that is about another database."""
    wanted = {name for name in ("sqlite", "postgres", "mysql") if item.get_closest_marker(name)}
    if wanted and DATABASE not in wanted:
        pytest.skip(f"needs {' or '.join(sorted(wanted))}")
