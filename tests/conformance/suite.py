"""Run the tests of one suite in this process; run.py starts it, with their directory on the path.

`python -m tests.conformance.suite PACKAGE OUTCOMES.json [PATTERN …]`; a test whose name matches a
pattern is not run.
"""

from __future__ import annotations

import json
import os
import sys
import unittest
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path
from typing import Any

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.conformance.settings"

import django
from django.test import SimpleTestCase, override_settings
from django.test import utils as test_utils
from django.test.runner import DiscoverRunner

# Whose place ours takes in TASKS.
BACKENDS = {
    "DummyBackend": "tests.conformance.backends.Waiting",
    "ImmediateBackend": "tests.conformance.backends.Immediate",
    "DatabaseBackend": "django_bgtasks.backend.RQBackend",
}


class Outcomes(unittest.TextTestResult):
    """Notes of each test whether it passed; a test with a failed part has failed."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.passed: dict[str, bool] = {}

    def startTest(self, test: unittest.TestCase) -> None:  # noqa: N802
        """Take all rows away: what is a SimpleTestCase with Django's backends writes rows here."""
        from django_bgtasks.models import Job

        Job.objects.all().delete()
        super().startTest(test)
        self.passed[test.id()] = True

    def _failed(self, test: Any) -> None:
        self.passed[getattr(test, "test_case", test).id()] = False

    def addError(self, test: Any, err: Any) -> None:  # noqa: N802
        """An exception."""
        self._failed(test)
        super().addError(test, err)

    def addFailure(self, test: Any, err: Any) -> None:  # noqa: N802
        """An assertion."""
        self._failed(test)
        super().addFailure(test, err)

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:  # noqa: N802
        """A part of it ended."""
        if err is not None:
            self._failed(test)
        super().addSubTest(test, subtest, err)

    def addSkip(self, test: Any, reason: str) -> None:  # noqa: N802
        """It was not run: no word about us."""
        self._failed(test)
        super().addSkip(test, reason)


class Runner(DiscoverRunner):
    """Django's, with these outcomes."""

    def get_resultclass(self) -> Any:
        """Ours."""
        return Outcomes


def on_bgtasks(settings: dict[str, Any]) -> dict[str, Any]:
    """TASKS with our backends in the place of those that it names."""
    return {
        name: {**entry, "BACKEND": BACKENDS.get(_class_name(entry["BACKEND"]), entry["BACKEND"])}
        for name, entry in settings.items()
    }


def _class_name(path: str) -> str:
    return path.rpartition(".")[2]


@contextmanager
def ours_in_overrides() -> Iterator[None]:
    """Within it override_settings() puts ours in the place of the backends that it names."""
    enable: Callable[[Any], None] = override_settings.enable

    def enabled(override: Any) -> None:
        if "TASKS" in override.options:
            override.options = {
                **override.options,
                "TASKS": on_bgtasks(override.options["TASKS"]),
            }
        enable(override)

    override_settings.enable = enabled  # type: ignore[method-assign,assignment]
    yield
    override_settings.enable = enable  # type: ignore[method-assign,assignment]


def tests_of(package: str) -> list[Any]:
    """Import their modules, under the backends that they are imported with in their own runs."""
    names = sorted(path.stem for path in Path(*import_module(package).__path__).glob("test*.py"))
    modules = [import_module(f"{package}.{name}") for name in names]
    for module in modules:
        for name, path in BACKENDS.items():
            if hasattr(module, name):
                where, _, own = path.rpartition(".")
                setattr(module, name, getattr(import_module(where), own))
    return modules


def main(package: str, outcomes: str, *patterns: str) -> None:
    """Run them, and write for each whether it passed, and how many were not run."""
    django.setup()
    from django_bgtasks.testing import without_redis

    # Theirs touch no database with Django's backends; ours is one.
    SimpleTestCase.databases = frozenset({"default"})  # type: ignore[assignment]
    modules = tests_of(package)
    if package == "tests_of_others":
        from .tasks_db import adapt

        adapt(modules)
    runner = Runner(verbosity=0, interactive=False)
    with without_redis(), ours_in_overrides():
        databases = runner.setup_databases()
        runner.setup_test_environment()
        suite = runner.build_suite([module.__name__ for module in modules])
        cut = len(package) + 1
        found = list(test_utils.iter_test_cases(suite))  # type: ignore[attr-defined]
        chosen = [
            test for test in found if not any(fnmatchcase(test.id()[cut:], p) for p in patterns)
        ]
        result: Any = runner.run_suite(runner.test_suite(chosen))
        runner.teardown_databases(databases)
    passed = {test[cut:]: value for test, value in result.passed.items()}
    report = {"passed": passed, "not_run": len(found) - len(chosen)}
    Path(outcomes).write_text(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
