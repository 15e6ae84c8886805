"""The nodes of a module, each with its scope and what is around it."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .findings import AuditFinding, FindingCode
from .libraries import CELERY, TASK_CLASS
from .resolver import Resolver
from .scopes import Scope
from .values import ClassRef, TaskRef

OUTSIDE = (
    "decorator_list", "bases", "keywords", "returns", "type_params",
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """One node, in its scope."""

    node: ast.AST
    scope: Scope
    parent: Site | None = None

    def around(self) -> Iterator[Site]:
        """The sites around this one, the nearest first."""
        site = self.parent
        while site is not None:
            yield site
            site = site.parent


Finder = Callable[[Site, Resolver], Iterator[AuditFinding]]


def sites_of(scope: Scope) -> Iterator[Site]:
    """All nodes of a module, in the order of its text."""
    stack = [Site(scope.node, scope)]
    while stack:
        site = stack.pop()
        yield site
        stack.extend(reversed(list(_children(site))))


def sites_within(node: ast.AST, scope: Scope) -> Iterator[Site]:
    """All nodes of an expression or a function. scope: that in which the node itself stands."""
    stack = [Site(node, scope)]
    while stack:
        site = stack.pop()
        yield site
        stack.extend(reversed(list(_children(site))))


def _children(site: Site) -> Iterator[Site]:
    node, scope = site.node, site.scope
    inner = scope.inner.get(id(node))
    for name in node._fields:
        value = getattr(node, name, None)
        if value is None or isinstance(value, str):
            continue
        within = scope if inner is None or name in OUTSIDE else inner
        if name == "args" and isinstance(value, ast.arguments):
            # Defaults and annotations belong to the scope around.
            within = scope
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not isinstance(child, ast.expr_context):
                yield Site(child, within, site)


def task_around(site: Site, resolver: Resolver) -> TaskRef | None:
    """The task in whose code the site stands."""
    for outer in site.around():
        if isinstance(outer.node, ast.FunctionDef | ast.AsyncFunctionDef):
            value = resolver.definition(outer.node, outer.scope)
            if isinstance(value, TaskRef):
                return value
        elif isinstance(outer.node, ast.ClassDef):
            cls = resolver.definition(outer.node, outer.scope)
            if isinstance(cls, ClassRef) and resolver.has_base(cls, TASK_CLASS):
                return TaskRef(CELERY, cls.label)
    return None


def finding_at(
    site: Site,
    code: FindingCode,
    subject: str,
    note: str = "",
    is_certain: bool = True,
    node: ast.AST | None = None,
) -> AuditFinding:
    """A finding at this site, or at another node of its module.

    Of a call the line is that of the method's name, where a search for it finds it.
    """
    place = node or site.node
    line, column = getattr(place, "lineno", 1), getattr(place, "col_offset", 0)
    if isinstance(place, ast.Call) and isinstance(place.func, ast.Attribute):
        line = place.func.end_lineno or line
    source = site.scope.source
    return AuditFinding(
        source.path, line, column + 1, code.value, subject, note, is_certain, source.is_test
    )


def written(node: ast.AST) -> str:
    """An expression as one short line of text, for people."""
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 60 else f"{text[:59]}…"
