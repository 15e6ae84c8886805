"""The tests of other projects: taken from their source packages when they run, kept nowhere."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# Of the package in which the tests are put: `tests` is ours.
PACKAGE = "tests_of_others"
TO_THE_BACKPORT = {
    r"from django\.tasks import Task,": (
        "from django.tasks.base import Task\nfrom django.tasks import"
    ),
    r"\bdjango\.tasks\b": "django_tasks",
    r"\bInvalidTaskBackend\b": "InvalidTaskBackendError",
    r"\bInvalidTask\b": "InvalidTaskError",
}
# The names in it, the version of its ids, and two texts.
TO_THIS_BACKEND = {
    r"from tests import": f"from {PACKAGE} import",
    r"\btests\.tasks\.": f"{PACKAGE}.tasks.",
    r"\.version, 4\)": ".version, 7)",
    r'assertIn\("django_tasks_db", ': 'assertIn("django_bgtasks", ',
    r"is not JSON serializable": "is not JSON",
    r"This Task failed": "This task failed",
}


@dataclass(frozen=True)
class Suite:
    """One run: whose tests, from which source package, on which Django.

    files: where the tests are in it. package: of which they are modules here. renamed: patterns of
    names that they have in the other API. tasks: the package whose `tasks.py` they use.
    """

    name: str
    source: str
    django: str
    files: str
    package: str
    renamed: Mapping[str, str]
    with_tasks_of: str = ""


DJANGO = "django==6.1.3"
SUITES = (
    Suite("Django 6.1.3", DJANGO, "6.1.3", "tests/tasks", "tasks", {}),
    Suite("backport 0.12, Django 6.1", DJANGO, "6.1.3", "tests/tasks", "tasks", TO_THE_BACKPORT),
    Suite("backport 0.12, Django 5.2", DJANGO, "5.2", "tests/tasks", "tasks", TO_THE_BACKPORT),
    Suite(
        "django-tasks-db 0.13",
        "django-tasks-db==0.13.0",
        "6.1.3",
        "tests",
        PACKAGE,
        TO_THIS_BACKEND,
        with_tasks_of=DJANGO,
    ),
)


def suites_of_a_checkout(directory: str) -> tuple[Suite, ...]:
    """The backport's own tests, from a checkout of its repository: its source package has none."""
    package = "tests_of_backport"
    renamed = {
        r"from tests import": f"from {package} import",
        r"\btests\.tests\.": f"{package}.",
        r"\btests\.tasks\b": f"{package}.tasks",
    }
    return tuple(
        Suite(
            f"backport's own tests, Django {django}", directory, django, "tests", package, renamed
        )
        for django in ("6.1.3", "5.2")
    )


def pip(*arguments: str) -> None:
    """Run pip, and fail if it does."""
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    subprocess.run(command, check=True)


def unpacked(suite: Suite, directory: Path) -> Path:
    """Put the tests of a suite into a new directory, and return that: it goes on the path."""
    root = directory / re.sub(r"\W+", "_", suite.name)
    target = root / suite.package
    if Path(suite.source).is_dir():
        target.mkdir(parents=True)
        for path in (Path(suite.source) / suite.files).rglob("*.py"):
            shutil.copy(path, target)
    else:
        _unpack(suite.source, suite.files, target, directory)
    if suite.with_tasks_of:
        _unpack(suite.with_tasks_of, "tests/tasks/tasks.py", target / "tasks.py", directory)
    (target / "__init__.py").touch()
    for path in target.glob("*.py"):
        text = path.read_text()
        for pattern, name in suite.renamed.items():
            text = re.sub(pattern, name, text)
        path.write_text(text)
    return root


def _unpack(requirement: str, inner: str, target: Path, directory: Path) -> None:
    packages = directory / "packages"
    name = requirement.partition("==")[0].replace("-", "_")
    if not list(packages.glob(f"{name}-*")):
        pip("download", "--no-deps", "--no-binary", name, requirement, "-d", str(packages))
    [package] = packages.glob(f"{name}-*")
    with tarfile.open(package) as archive:
        for member in archive.getmembers():
            place = Path(*Path(member.name).parts[1:])
            if member.isfile() and (place == Path(inner) or place.parent == Path(inner)):
                path = target if place == Path(inner) else target / place.name
                path.parent.mkdir(parents=True, exist_ok=True)
                file = archive.extractfile(member)
                assert file is not None
                path.write_bytes(file.read())
