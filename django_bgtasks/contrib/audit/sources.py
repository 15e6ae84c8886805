"""The files of a project that is audited: found and parsed, never imported."""

from __future__ import annotations

import ast
import io
import os
import tokenize
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

# Directories whose Python is not the project's own, or says nothing of its tasks.
LEFT_OUT = frozenset({
    ".eggs", ".git", ".hg", ".mypy_cache", ".nox", ".ruff_cache", ".svn", ".tox", ".venv",
    "__pycache__", "bower_components", "node_modules", "site-packages", "templates", "venv",
    "virtualenv",
})  # fmt: skip
# A project may keep the tasks of its migrations in a directory below these.
MIGRATIONS = "migrations"
PACKAGE_FILE = "__init__.py"
# Every virtual environment has this file.
ENVIRONMENT = "pyvenv.cfg"
TEST_DIRECTORIES = frozenset({"test", "tests", "testing"})


@dataclass(frozen=True, slots=True, eq=False)
class SourceFile:
    """One parsed file. path: as it is shown; parts: the names from the root of the project."""

    path: str
    parts: tuple[str, ...]
    tree: ast.Module

    @property
    def is_package(self) -> bool:
        """Whether it is the `__init__.py` of a package."""
        return self.parts[-1] == "__init__"

    @property
    def package(self) -> tuple[str, ...]:
        """The directory, as names: what a relative import with one dot means."""
        return self.parts[:-1]

    @property
    def is_test(self) -> bool:
        """Whether test runners look for tests here, by the usual names of files."""
        name = PurePosixPath(self.path).name
        return (
            not TEST_DIRECTORIES.isdisjoint(self.parts[:-1])
            or name.startswith("test_")
            or name.endswith("_test.py")
            or name in {"tests.py", "conftest.py"}
        )


@dataclass(frozen=True, slots=True)
class SkippedFile:
    """A file that this Python cannot read. line: where the parser stopped, 0 if it does not say."""

    path: str
    line: int
    reason: str


def read_sources(paths: Iterable[Path]) -> tuple[list[SourceFile], list[SkippedFile]]:
    """Parse all Python files below these directories, or these files themselves.

    A path is shown as it was written, followed by the place below it.
    """
    sources: dict[Path, SourceFile] = {}
    skipped: list[SkippedFile] = []
    for root in paths:
        base = _import_root(root)
        for file in python_files(root):
            identity = file.resolve()
            if identity in sources or not identity.is_relative_to(base):
                continue
            parsed = _parse(file, base)
            if isinstance(parsed, SourceFile):
                sources[identity] = parsed
            else:
                skipped.append(parsed)
    return list(sources.values()), skipped


def python_files(root: Path) -> Iterator[Path]:
    """The Python files of a directory in the order of their names, or the file that it is."""
    if root.is_file():
        yield root
        return
    for directory, directories, names in os.walk(root):
        if ENVIRONMENT in names:
            directories.clear()
            continue
        directories[:] = sorted(name for name in directories if name not in LEFT_OUT)
        ending = PACKAGE_FILE if Path(directory).name == MIGRATIONS else ".py"
        yield from (Path(directory, name) for name in sorted(names) if name.endswith(ending))


def _import_root(root: Path) -> Path:
    """The directory from which the modules of this one are imported."""
    base = root.resolve() if root.is_dir() else root.resolve().parent
    while (base / PACKAGE_FILE).exists():
        base = base.parent
    return base


def _parse(file: Path, base: Path) -> SourceFile | SkippedFile:
    path = file.as_posix()
    try:
        with warnings.catch_warnings():
            # A wrong escape in somebody's text is no concern of the audit.
            warnings.simplefilter("ignore")
            tree = _tree_of(file.read_bytes(), path)
    except SyntaxError as error:
        return SkippedFile(path, error.lineno or 0, error.msg)
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        return SkippedFile(path, 0, f"{type(error).__name__}: {error}")
    return SourceFile(path, file.resolve().relative_to(base).with_suffix("").parts, tree)


def _tree_of(content: bytes, path: str) -> ast.Module:
    try:
        return ast.parse(content, filename=path)
    except SyntaxError:
        # Python 3.14 needs no parentheses in `except A, B:`, and formatters take them away.
        encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
        text = io.TextIOWrapper(io.BytesIO(content), encoding).read()
        repaired = with_parentheses(text)
        if repaired == text:
            raise
        return ast.parse(repaired, filename=path)


def with_parentheses(text: str) -> str:
    """The text with parentheses around the exceptions of each `except A, B:`.

    Raises SyntaxError if it cannot be read as words.
    """
    lines = text.splitlines(keepends=True)
    try:
        tokens = list(tokenize.generate_tokens(iter(lines).__next__))
    except tokenize.TokenError as error:
        raise SyntaxError(str(error)) from error
    for first, last in reversed(list(_bare_lists(tokens))):
        for (row, column), sign in ((last.end, ")"), (first.start, "(")):
            line = lines[row - 1]
            lines[row - 1] = f"{line[:column]}{sign}{line[column:]}"
    return "".join(lines)


def _bare_lists(
    tokens: list[tokenize.TokenInfo],
) -> Iterator[tuple[tokenize.TokenInfo, tokenize.TokenInfo]]:
    """The first and the last word between an `except` and its colon, where a comma is between."""
    for place, token in enumerate(tokens):
        if token.type != tokenize.NAME or token.string != "except":
            continue
        depth, has_comma, end = 0, False, place + 1
        while tokens[end].string != ":" and tokens[end].type != tokenize.NEWLINE:
            depth += (tokens[end].string in {"(", "["}) - (tokens[end].string in {")", "]"})
            has_comma |= tokens[end].string == "," and not depth
            end += 1
        if has_comma:
            start = place + 2 if tokens[place + 1].string == "*" else place + 1
            yield tokens[start], tokens[end - 1]
