"""What the classes of a project have, by themselves and by their bases."""

from __future__ import annotations

import ast
from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import islice

from . import django_types as of_django
from .libraries import ANY_TASK, CELERY, RESULTS, SIGNATURES, TASK_CLASS
from .nodes import parse_annotation, union_parts
from .project import Project
from .scopes import Binding, FunctionNode, Scope, ValueBinding
from .sources import SourceFile
from .values import (
    ClassRef,
    Foreign,
    FunctionRef,
    InstanceRef,
    MethodRef,
    ResultRef,
    RowsRef,
    SignatureRef,
    TaskRef,
    Value,
    foreign,
)

PROTOCOL = "typing.Protocol"
PROPERTIES = frozenset({
    "builtins.property", "django.utils.functional.cached_property", "functools.cached_property",
})  # fmt: skip


class ClassLookup(ABC):
    """Finds the attributes of classes. What an expression stands for is said by who derives it."""

    def __init__(self, project: Project) -> None:
        self.project = project
        # Annotations that are texts, parsed once: a node lives as long as its id is used.
        self._texts: dict[int, ast.expr] = {}
        # By the id of a class.
        self._ancestors: dict[int, tuple[ClassRef | Foreign | None, ...]] = {}

    @abstractmethod
    def value(self, node: ast.expr, scope: Scope) -> Value | None:
        """What the expression stands for."""

    @abstractmethod
    def bound(self, bindings: list[Binding], source: SourceFile) -> Value | None:
        """What a name stands for that has these bindings."""

    @abstractmethod
    def returned(self, function: FunctionRef) -> Value | None:
        """What a function of the project returns."""

    @abstractmethod
    def definition(self, node: FunctionNode | ast.ClassDef, scope: Scope) -> Value:
        """The class, function or task that is defined so in this scope."""

    def path(self, node: ast.expr, scope: Scope) -> str:
        """The dotted path of what a library has; empty for anything else."""
        value = self.value(node, scope)
        return value.path if isinstance(value, Foreign) else ""

    def ancestors(self, cls: ClassRef) -> Iterator[ClassRef | Foreign | None]:
        """The class and its bases, depth first; None for a base that is not known."""
        key = id(cls.node)
        if key not in self._ancestors:
            self._ancestors[key] = tuple(self._lineage(cls))
        return iter(self._ancestors[key])

    def _lineage(self, cls: ClassRef) -> Iterator[ClassRef | Foreign | None]:
        done: set[ast.ClassDef] = set()
        waiting: list[ClassRef | Foreign | None] = [cls]
        while waiting:
            current = waiting.pop(0)
            if isinstance(current, ClassRef):
                if current.node in done:
                    continue
                done.add(current.node)
                scope = self.project.scope_within(current.node).parent
                bases = [self.value(_generic(base), scope) for base in current.node.bases if scope]
                waiting[:0] = [
                    base if isinstance(base, ClassRef | Foreign) else None for base in bases
                ]
            yield current

    def has_base(self, cls: ClassRef, path: str) -> bool:
        """Whether the class descends from this class of a library."""
        return Foreign(path) in self.ancestors(cls)

    def is_model(self, cls: ClassRef) -> bool:
        """Whether it is a model: by a base of Django's, or by fields of its own."""
        for base in self.ancestors(cls):
            if isinstance(base, Foreign) and base.path in of_django.MODELS:
                return True
            if isinstance(base, ClassRef) and any(self._fields(base)):
                return True
        return False

    def _fields(self, cls: ClassRef) -> Iterator[str]:
        scope = self.project.scope_within(cls.node)
        for name in scope.names:
            if self._field(scope, name):
                yield name

    def _field(self, scope: Scope, name: str) -> str:
        """The name of the class of the field that this attribute is; empty for another one."""
        for binding in scope.names.get(name, ()):
            if isinstance(binding, ValueBinding) and isinstance(binding.node, ast.Call):
                path = self.path(binding.node.func, binding.scope)
                if path.startswith(of_django.FIELDS):
                    field = path.rpartition(".")[2]
                    if field in of_django.RELATIONS or field.endswith("Field"):
                        return field
        return ""

    def class_attribute(
        self, cls: ClassRef, name: str, is_instance: bool, is_super: bool = False
    ) -> Value | None:
        """An attribute of a class or of its instances. is_super: of its bases only."""
        if not is_instance and name in of_django.MANAGERS and self.is_model(cls):
            return RowsRef(cls)
        for base in islice(self.ancestors(cls), int(is_super), None):
            if isinstance(base, ClassRef):
                scope = self.project.scope_within(base.node)
                bindings = scope.names.get(name) or scope.attributes.get(name)
                if bindings:
                    return self._own_attribute(cls, scope, name, bindings, is_instance)
            elif isinstance(base, Foreign):
                if base.path == TASK_CLASS:
                    return MethodRef(TaskRef(CELERY, cls.label), name)
                if base.path not in of_django.MODELS and base.path != "builtins.object":
                    return known(f"{base.path}{'()' if is_instance else ''}.{name}")
        return None

    def _own_attribute(
        self, cls: ClassRef, scope: Scope, name: str, bindings: list[Binding], is_instance: bool
    ) -> Value | None:
        """An attribute that a class of the project sets itself."""
        if is_instance and (field := self._field(scope, name)):
            return self._field_value(scope, name, field)
        if not is_instance and self._is_member(cls, bindings):
            return InstanceRef(cls)
        return self._read(self.bound(bindings, scope.source), is_instance)

    def _is_member(self, cls: ClassRef, bindings: list[Binding]) -> bool:
        """Whether this is the member of an enumeration."""
        is_value = isinstance(bindings[0], ValueBinding)
        return is_value and any(
            isinstance(base, Foreign) and base.path in of_django.ENUMERATIONS
            for base in self.ancestors(cls)
        )

    def _field_value(self, scope: Scope, name: str, field: str) -> Value | None:
        if field in of_django.RELATIONS:
            return Foreign("django.db.models.Model()")
        path = of_django.FIELD_TYPES.get(field)
        return Foreign(path) if path else None

    def _read(self, value: Value | None, is_instance: bool) -> Value | None:
        if isinstance(value, FunctionRef) and is_instance:
            scope = self.project.scope_within(value.node).parent
            paths = [self.path(node, scope) for node in value.node.decorator_list if scope]
            if not PROPERTIES.isdisjoint(paths):
                return self.returned(value)
        return value

    def has_attribute(self, cls: ClassRef, name: str) -> bool | None:
        """Whether the class or its instances have it; None if a base is not known."""
        is_open = False
        for base in self.ancestors(cls):
            if isinstance(base, ClassRef):
                scope = self.project.scope_within(base.node)
                if name in scope.names or name in scope.attributes:
                    return True
            elif base is None or not base.path.startswith(("builtins.", "django.", "typing.")):
                is_open = True
        return None if is_open else False

    def annotated(self, node: ast.expr, scope: Scope) -> Value | None:
        """What has this annotation."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = self._texts.get(id(node)) or parse_annotation(node.value)
            if text is None:
                return None
            node = self._texts[id(node)] = text
        if isinstance(node, ast.BinOp):
            parts = union_parts(node)
            if any(self._is_protocol(self.value(part, scope)) for part in parts):
                return None
            values = (self.annotated(part, scope) for part in parts)
            return next((value for value in values if value is not None), None)
        if isinstance(node, ast.Subscript):
            return self._parametrized(node, scope)
        return self._instance(self.value(node, scope))

    def _parametrized(self, node: ast.Subscript, scope: Scope) -> Value | None:
        path = self.path(node.value, scope)
        if path in {"typing.Annotated", "typing.Optional"}:
            inner = node.slice.elts[0] if isinstance(node.slice, ast.Tuple) else node.slice
            return self.annotated(inner, scope)
        if path in {"django.db.models.QuerySet", "django.db.models.query.QuerySet"}:
            model = self.value(node.slice, scope)
            return RowsRef(model) if isinstance(model, ClassRef | Foreign) else None
        return self._instance(self.value(node.value, scope))

    def _instance(self, value: Value | None) -> Value | None:
        if isinstance(value, ClassRef):
            return None if self._is_protocol(value) else InstanceRef(value)
        return known(f"{value.path}()") if isinstance(value, Foreign) else None

    def _is_protocol(self, value: Value | None) -> bool:
        """Whether it says nothing of what is passed."""
        return isinstance(value, ClassRef) and self.has_base(value, PROTOCOL)

    def super_of(self, scope: Scope) -> Value | None:
        """What `super()` is in this scope."""
        around: Scope | None = scope
        while around is not None:
            if isinstance(around.node, ast.ClassDef) and around.parent is not None:
                cls = self.definition(around.node, around.parent)
                return InstanceRef(cls, is_super=True) if isinstance(cls, ClassRef) else None
            around = around.parent
        return None


def known(path: str) -> Value:
    """Something of a library, or the task, signature or result that it is."""
    value = foreign(path)
    for table, kind in ((ANY_TASK, TaskRef), (SIGNATURES, SignatureRef), (RESULTS, ResultRef)):
        if value.path in table:
            value_of_kind: Value = kind(table[value.path], "")
            return value_of_kind
    return value


def model_instance(model: ClassRef | Foreign) -> Value:
    """An instance of a model."""
    return (
        InstanceRef(model) if isinstance(model, ClassRef) else Foreign("django.db.models.Model()")
    )


def _generic(node: ast.expr) -> ast.expr:
    return node.value if isinstance(node, ast.Subscript) else node


def of_rows(rows: RowsRef, name: str) -> Value | None:
    """What a method of a manager or a queryset returns."""
    if name in of_django.GIVE_ONE and not rows.has_values:
        return model_instance(rows.model)
    if name in of_django.GIVE_VALUES:
        return RowsRef(rows.model, has_values=True)
    if name in of_django.GIVE_LIST:
        return RowsRef(rows.model, is_list=True)
    return rows if name in of_django.GIVE_ROWS else None
