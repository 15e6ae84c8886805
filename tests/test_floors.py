"""The shape of the package: its floors, and the size of its files and functions."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import django_bgtasks

PACKAGE = Path(django_bgtasks.__file__).parent
FLOORS = {
    "core": 0,
    "signals.py": 0,
    "models": 1,
    "migrations": 1,
    "ledger": 2,
    "transport": 3,
    "sandbox": 3,
    "idempotency": 3,
    "jobs": 4,
    "workflows": 4,
    "schedules": 5,
    "limits": 5,
    "monitoring": 5,
    "worker": 6,
}
DOORS = 7
REDIS_LIBRARIES = {"rq", "redis", "django_redis"}
MAY_USE_REDIS = {"transport"}
# Django's name for a command, and ours for one run of a maintenance task.
SAME_EVERYWHERE = {"Command", "run_once"}
# Participles and pronouns say nothing of a value: a name says what it is.
EMPTY_NAME = re.compile(
    "_*(told|held|shown|kept|asked|said|heard|given|made|gone|taken|wanted|meant"
    "|ours|yours|theirs|mine|his|hers|its|whose|them|they)_*",
    re.IGNORECASE,
)
# "Held" is the field's word for a job that waits for its task, and for a place at a limit.
HELD_JOBS = {
    "admin/filters.py",
    "monitoring/diagnosis.py",
    "monitoring/limits.py",
    "monitoring/queries.py",
    "monitoring/snapshot.py",
}
FILE_LINES = 500
FUNCTION_LINES = 50

FILES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))
WRITTEN = [path for path in FILES if path.parts[0] != "migrations"]
TEMPLATES = sorted(
    path.relative_to(PACKAGE)
    for suffix in ("html", "txt", "js", "css")
    for path in PACKAGE.rglob(f"*.{suffix}")
)


def test_a_file_imports_only_from_its_own_floor_or_a_lower_one() -> None:
    assert not [
        f"{path}:{line}: floor {floor_of(path)} imports {module} of floor {floor_of(target)}"
        for path in FILES
        for line, module in imports_of(path)
        if (target := file_of(module)) is not None and floor_of(target) > floor_of(path)
    ]


def test_no_circle_of_files() -> None:
    order = TopologicalSorter({path: set(files_of(path)) for path in WRITTEN})
    try:
        order.prepare()
    except CycleError as error:
        circle = " -> ".join(map(str, error.args[1]))
        raise AssertionError(f"These files import each other: {circle}") from None


def test_no_public_name_is_defined_twice() -> None:
    places: dict[str, set[str]] = {}
    for path in WRITTEN:
        for node in tree_of(path).body:
            name = getattr(node, "name", "_")
            if not name.startswith("_") and name not in SAME_EVERYWHERE:
                places.setdefault(name, set()).add(str(path))
    assert not {name: found for name, found in places.items() if len(found) > 1}


def test_a_name_says_what_the_value_is() -> None:
    assert not [
        f"{path}:{line}: {name}"
        for path in WRITTEN
        for line, name in names_of(path)
        if EMPTY_NAME.fullmatch(name)
        and not (name.strip("_") == "held" and path.as_posix() in HELD_JOBS)
    ]


def test_only_transport_imports_rq_and_redis() -> None:
    assert not [
        f"{path}:{line}: {module}"
        for path in FILES
        if path.parts[0] not in MAY_USE_REDIS
        for line, module in imports_of(path)
        if module.split(".")[0] in REDIS_LIBRARIES
    ]


def test_core_imports_no_orm() -> None:
    # TextChoices lives in the ORM's package, and touches no table.
    choices = {"django.db", "django.db.models", "django.db.models.TextChoices"}
    orm = {
        f"{path}:{line}: {module}"
        for path in WRITTEN
        if path.parts[0] == "core"
        for line, module in imports_of(path)
        if module.startswith(("django.db", "django.contrib")) and module not in choices
    }
    assert not orm


def test_no_file_is_longer_than_500_lines() -> None:
    lengths = {str(path): len(source_of(path).splitlines()) for path in WRITTEN}
    assert not {path: lines for path, lines in lengths.items() if lines > FILE_LINES}


def test_no_function_is_longer_than_50_lines() -> None:
    assert not [
        f"{path}: {node.name} has {lines_of(node)} lines"
        for path in WRITTEN
        for node in functions_of(path)
        if lines_of(node) > FUNCTION_LINES
    ]


def test_only_management_commands_print() -> None:
    assert not [
        f"{path}:{node.lineno}"
        for path in WRITTEN
        if path.parts[:2] != ("management", "commands")
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]


def test_nothing_is_left_to_be_done() -> None:
    left = re.compile(r"\b(TODO|FIXME|XXX)\b")
    assert not [str(path) for path in [*FILES, *TEMPLATES] if left.search(source_of(path))]


def floor_of(path: Path) -> int:
    """The floor of a file of the package; what is in no floor's directory is a door."""
    return FLOORS.get(path.parts[0], DOORS)


def files_of(path: Path) -> Iterator[Path]:
    """The other files of the package that a file imports.

    `from . import module` means the module, and not the package's own file.
    """
    modules = {module for _, module in imports_of(path) if file_of(module) is not None}
    packages = {module.rpartition(".")[0] for module in modules}
    for module in modules:
        target = file_of(module)
        is_on_the_way = module in packages and target is not None and target.name == "__init__.py"
        if target is not None and target != path and not is_on_the_way:
            yield target


def file_of(module: str) -> Path | None:
    """The file of a module of the package, relative to it; None for other modules and names."""
    top, *parts = module.split(".")
    if top != PACKAGE.name:
        return None
    candidates = [Path(*parts).with_suffix(".py")] if parts else []
    candidates.append(Path(*parts, "__init__.py"))
    return next((path for path in candidates if (PACKAGE / path).is_file()), None)


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """Line and absolute name of all that a file imports, in functions too.

    `from a import b` gives both a and a.b, for b may be a module. What only type checkers see
    counts too: a reader follows it as well.
    """
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = absolute(path, node)
            names = [f"{base}.{alias.name}" for alias in node.names]
            # The package's own __init__ opens the doors: `from .. import x` means the module x.
            yield from ((node.lineno, name) for name in [base, *names] if name != PACKAGE.name)


def absolute(path: Path, node: ast.ImportFrom) -> str:
    """The module that `from … import` names, without leading dots."""
    package = ".".join([PACKAGE.name, *path.parent.parts])
    return importlib.util.resolve_name("." * node.level + (node.module or ""), package)


def names_of(path: Path) -> Iterator[tuple[int, str]]:
    """Line and name of all that a file defines: functions, classes, parameters, variables."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr


def functions_of(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """The functions and methods of a file."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """From `def` to the end, without the docstring."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    if (text := ast.get_docstring(function, clean=False)) is not None:
        lines -= text.count("\n") + 1
    return lines


@cache
def tree_of(path: Path) -> ast.Module:
    """The syntax tree of a file of the package."""
    return ast.parse(source_of(path))


def source_of(path: Path) -> str:
    """The text of a file of the package."""
    return (PACKAGE / path).read_text(encoding="utf-8")
