"""The modules of a project, found by the names under which it imports them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .libraries import KNOWN, library_of
from .scopes import ImportBinding, Scope, ScopeNode, module_scope
from .sources import SourceFile

Names = tuple[str, ...]


class Project:
    """All files of a project, and the scopes within them.

    Any directory that is no package may be a root of imports: the project's own, and `src/`.
    """

    def __init__(self, sources: Sequence[SourceFile]) -> None:
        self.sources = sources
        self._packages = {source.package for source in sources if source.is_package}
        self._files: dict[Names, list[SourceFile]] = {}
        self._directories: set[Names] = set()
        self._modules: dict[int, Scope] = {}
        self._scopes: dict[int, Scope] = {}
        # The task libraries that any file imports.
        self.libraries: set[str] = set()
        for source in sources:
            parts = source.package if source.is_package else source.parts
            for start in range(len(parts)):
                if parts[:start] not in self._packages:
                    self._files.setdefault(parts[start:], []).append(source)
                    self._directories.update(
                        parts[start:end] for end in range(start + 1, len(parts))
                    )
        for source in sources:
            scope = self._modules[id(source)] = module_scope(source)
            for inner in _all(scope):
                self._scopes[id(inner.node)] = inner
                self.libraries.update(_imported_libraries(inner))

    def find(self, names: Names, near: SourceFile) -> SourceFile | None:
        """The module of this absolute name; of several the one that lies nearest to `near`."""
        if not names or names[0] in KNOWN:
            return None
        found = self._files.get(names, [])
        if len(found) < 2:
            return found[0] if found else None
        return max(found, key=lambda source: _common(source.parts, near.parts))

    def has_directory(self, names: Names) -> bool:
        """Whether modules of the project lie below this absolute name."""
        return bool(names) and names[0] not in KNOWN and names in self._directories

    def relative(self, source: SourceFile, level: int, module: str) -> Names | None:
        """The place of a relative import, from the root of the project; None if it leaves it."""
        package = source.package
        if level > len(package) + 1:
            return None
        base = package[: len(package) - level + 1]
        return (*base, *(module.split(".") if module else ()))

    def label(self, source: SourceFile) -> str:
        """The dotted name of a module, as the project imports it."""
        parts = source.package if source.is_package else source.parts
        start = len(source.package)
        if source.package in self._packages:
            while start and source.package[:start] in self._packages:
                start -= 1
        else:
            start = 0
        return ".".join(parts[start:])

    def scope(self, source: SourceFile) -> Scope:
        """The scope of a module."""
        return self._modules[id(source)]

    def scope_within(self, node: ScopeNode) -> Scope:
        """The scope that a function or a class opens."""
        return self._scopes[id(node)]


def _common(left: Names, right: Names) -> int:
    return next(
        (place for place, (a, b) in enumerate(zip(left, right, strict=False)) if a != b),
        min(len(left), len(right)),
    )


def _imported_libraries(scope: Scope) -> Iterator[str]:
    for bindings in scope.names.values():
        for binding in bindings:
            if isinstance(binding, ImportBinding) and not binding.level:
                library = library_of(binding.module)
                if library:
                    yield library


def _all(scope: Scope) -> Iterator[Scope]:
    yield scope
    for inner in scope.inner.values():
        yield from _all(inner)
