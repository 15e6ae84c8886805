"""Which names a module, a class or a function binds, and to what."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from .sources import SourceFile

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
ScopeNode = ast.Module | ast.ClassDef | FunctionNode | ast.Lambda | Comprehension
ScopeKind = Literal["module", "class", "function"]


@dataclass(frozen=True, slots=True, eq=False)
class ImportBinding:
    """`import module` or `from module import name`. level: the dots before the module."""

    module: str
    name: str = ""
    level: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class DefinitionBinding:
    """`def` or `class`, in its scope."""

    node: FunctionNode | ast.ClassDef
    scope: Scope


@dataclass(frozen=True, slots=True, eq=False)
class ValueBinding:
    """An expression that a name is set to. place: which element of it, None for all of it.

    is_element: the name goes through the elements of the expression, as in a loop.
    """

    node: ast.expr
    scope: Scope
    place: int | None = None
    is_element: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class ParameterBinding:
    """A parameter. place: among those that may be given by position, -1 for the others."""

    function: FunctionNode | ast.Lambda
    argument: ast.arg
    scope: Scope
    place: int


@dataclass(frozen=True, slots=True, eq=False)
class CaughtBinding:
    """The exception of `except … as name`."""

    node: ast.ExceptHandler


Binding = ImportBinding | DefinitionBinding | ValueBinding | ParameterBinding | CaughtBinding


@dataclass(slots=True, eq=False)
class Scope:
    """The names of one module, class or function.

    attributes: of a class, what its methods set at `self`. inner: the scopes of the nodes in it,
    by the id of the node. stars: the modules of `from … import *`.
    """

    node: ScopeNode
    kind: ScopeKind
    source: SourceFile
    parent: Scope | None = None
    names: dict[str, list[Binding]] = field(default_factory=dict)
    attributes: dict[str, list[Binding]] = field(default_factory=dict)
    inner: dict[int, Scope] = field(default_factory=dict)
    stars: list[ImportBinding] = field(default_factory=list)

    def lookup(self, name: str) -> list[Binding]:
        """What the name is bound to, seen from here; empty if no scope around binds it."""
        scope: Scope | None = self
        while scope is not None:
            # The names of a class are not seen from its methods.
            if name in scope.names and (scope.kind != "class" or scope is self):
                return scope.names[name]
            scope = scope.parent
        return []

    @property
    def module(self) -> Scope:
        """The scope of the module."""
        scope = self
        while scope.parent is not None:
            scope = scope.parent
        return scope


def module_scope(source: SourceFile) -> Scope:
    """The scope of a module, with all those within it."""
    scope = Scope(source.tree, "module", source)
    _Binder(scope).visit_all(source.tree.body)
    return scope


class _Binder(ast.NodeVisitor):
    """Fills one scope, and makes those within it."""

    def __init__(self, scope: Scope, class_scope: Scope | None = None, me: str = "") -> None:
        self.scope = scope
        # Of a method: the class, and the name of its first parameter.
        self.class_scope, self.me = class_scope, me

    def visit_all(self, nodes: Iterable[ast.AST]) -> None:
        for node in nodes:
            self.visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            if alias.asname:
                self._bind(alias.asname, ImportBinding(alias.name))
            else:
                top = alias.name.partition(".")[0]
                self._bind(top, ImportBinding(top))

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            binding = ImportBinding(node.module or "", alias.name, node.level)
            if alias.name == "*":
                self.scope.module.stars.append(binding)
            else:
                self._bind(alias.asname or alias.name, binding)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._function(node)

    def _function(self, node: FunctionNode) -> None:
        self._bind(node.name, DefinitionBinding(node, self.scope))
        self.visit_all([*node.decorator_list, *_defaults(node.args)])
        class_scope = self.scope if self.scope.kind == "class" else None
        names = [argument.arg for argument in [*node.args.posonlyargs, *node.args.args]]
        # A function in a method sees the method's `self`.
        me = (names or [""])[0] if class_scope else self.me
        inside = self._open(node, "function", class_scope or self.class_scope, me)
        inside.visit_all(node.body)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self.visit_all(_defaults(node.args))
        self._open(node, "function", self.class_scope, self.me).visit(node.body)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._bind(node.name, DefinitionBinding(node, self.scope))
        self.visit_all([*node.decorator_list, *node.bases, *node.keywords])
        self._open(node, "class", None, "").visit_all(node.body)

    def visit_ListComp(self, node: ast.ListComp) -> None:
        self._comprehension(node, [node.elt])

    def visit_SetComp(self, node: ast.SetComp) -> None:
        self._comprehension(node, [node.elt])

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> None:
        self._comprehension(node, [node.elt])

    def visit_DictComp(self, node: ast.DictComp) -> None:
        self._comprehension(node, [node.key, node.value])

    def _comprehension(self, node: Comprehension, results: Sequence[ast.expr]) -> None:
        inside = self._open(node, "function", self.class_scope, self.me)
        for part in node.generators:
            inside._assign(part.target, part.iter, is_element=True)
            inside.visit_all([part.iter, *part.ifs])
        inside.visit_all(results)

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            self._assign(target, node.value)
        self.visit(node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self._assign(node.target, node.value)
            self.visit(node.value)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self._assign(node.target, node.value)
        self.visit(node.value)

    def visit_For(self, node: ast.For) -> None:
        self._assign(node.target, node.iter, is_element=True)
        self.generic_visit(node)

    def visit_AsyncFor(self, node: ast.AsyncFor) -> None:
        self._assign(node.target, node.iter, is_element=True)
        self.generic_visit(node)

    def visit_withitem(self, node: ast.withitem) -> None:
        if node.optional_vars is not None:
            self._assign(node.optional_vars, node.context_expr)
        self.visit(node.context_expr)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name:
            self._bind(node.name, CaughtBinding(node))
        self.generic_visit(node)

    def _bind(self, name: str, binding: Binding) -> None:
        self.scope.names.setdefault(name, []).append(binding)

    def _assign(self, target: ast.expr, value: ast.expr, is_element: bool = False) -> None:
        if isinstance(target, ast.Name):
            self._bind(target.id, ValueBinding(value, self.scope, None, is_element))
        elif isinstance(target, ast.Tuple | ast.List):
            for place, part in enumerate(target.elts):
                if isinstance(part, ast.Name):
                    binding = ValueBinding(value, self.scope, place, is_element)
                    self._bind(part.id, binding)
        elif isinstance(target, ast.Attribute) and self.class_scope is not None:
            owner = target.value
            if isinstance(owner, ast.Name) and owner.id == self.me and not is_element:
                binding = ValueBinding(value, self.scope)
                self.class_scope.attributes.setdefault(target.attr, []).append(binding)

    def _open(self, node: ScopeNode, kind: ScopeKind, cls: Scope | None, me: str) -> _Binder:
        scope = Scope(node, kind, self.scope.source, self.scope)
        self.scope.inner[id(node)] = scope
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            _bind_parameters(node, scope)
        return _Binder(scope, cls, me)


def _bind_parameters(node: FunctionNode | ast.Lambda, scope: Scope) -> None:
    arguments = node.args
    by_place = [*arguments.posonlyargs, *arguments.args]
    others = [*arguments.kwonlyargs]
    others += [extra for extra in (arguments.vararg, arguments.kwarg) if extra is not None]
    places = [*range(len(by_place)), *[-1] * len(others)]
    for argument, place in zip([*by_place, *others], places, strict=True):
        scope.names[argument.arg] = [ParameterBinding(node, argument, scope, place)]


def _defaults(arguments: ast.arguments) -> list[ast.expr]:
    return [*arguments.defaults, *[value for value in arguments.kw_defaults if value is not None]]
