"""What calls give to tasks: values that JSON does not have, and functions that are no tasks."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from . import django_types as of_django
from .calls import QueueCall, queue_call
from .findings import AuditFinding, FindingCode
from .libraries import TASK_CLASS
from .nodes import decorator_of
from .resolver import Resolver
from .scopes import ParameterBinding, Scope
from .sites import Site, finding_at, written
from .values import (
    ClassRef,
    Foreign,
    FunctionRef,
    InstanceRef,
    LambdaRef,
    MethodRef,
    ModuleRef,
    PackageRef,
    ResultRef,
    RowsRef,
    TaskRef,
    Value,
)

CODES = {
    of_django.MODEL: FindingCode.ARGUMENT_MODEL,
    of_django.QUERYSET: FindingCode.ARGUMENT_QUERYSET,
    of_django.REQUEST: FindingCode.ARGUMENT_REQUEST,
    of_django.CALLABLE: FindingCode.ARGUMENT_CALLABLE,
}
DATACLASSES = frozenset({"attr.s", "attrs.define", "dataclasses.dataclass"})
PLAIN_BASES = frozenset({"builtins.dict", "builtins.int", "builtins.list", "builtins.str"})
# What an instance is by a base of its class; empty for what JSON has.
KINDS_OF_BASES = (
    (of_django.TEXT_ENUMERATIONS | PLAIN_BASES, ""),
    (of_django.ENUMERATIONS, of_django.ENUMERATION),
    (frozenset({"typing.NamedTuple"}), of_django.TUPLES),
    (frozenset({"typing.TypedDict", TASK_CLASS}), ""),
)
REQUEST_NAME = "request"


def find_arguments(site: Site, resolver: Resolver) -> Iterator[AuditFinding]:
    """Arguments of calls that are not JSON."""
    if not isinstance(site.node, ast.Call):
        return
    call = queue_call(site.node, site.scope, resolver)
    if call is None:
        return
    for argument in call.arguments:
        for node, kind, is_certain in no_json(argument, site.scope, resolver):
            code = CODES.get(kind)
            if code is None:
                is_type = kind in of_django.TYPES_HAVE
                code = FindingCode.ARGUMENT_TYPE if is_type else FindingCode.ARGUMENT_OBJECT
            note = f"{written(node)}: {kind}"
            # A wrapper may do something else with it.
            is_direct = call.code is not FindingCode.CALL_WRAPPER
            certain = is_certain and call.is_certain and is_direct
            yield finding_at(site, code, call.subject, note, certain, node=node)


def no_json(
    node: ast.expr, scope: Scope, resolver: Resolver
) -> Iterator[tuple[ast.expr, str, bool]]:
    """(expression, what it is, whether that is certain) of all in it that JSON does not have."""
    if isinstance(node, ast.Starred):
        return
    if isinstance(node, ast.List | ast.Tuple):
        for part in node.elts:
            yield from no_json(part, scope, resolver)
    elif isinstance(node, ast.Dict):
        for part in node.values:
            yield from no_json(part, scope, resolver)
    elif isinstance(node, ast.IfExp):
        yield from no_json(node.body, scope, resolver)
        yield from no_json(node.orelse, scope, resolver)
    else:
        kind = _of_node(node) or _of_value(resolver.value(node, scope), resolver)
        if kind:
            yield node, kind, True
        elif _may_be_request(node, scope):
            yield node, of_django.REQUEST, False


def _of_node(node: ast.expr) -> str:
    if isinstance(node, ast.Set | ast.SetComp):
        return of_django.SET
    if isinstance(node, ast.GeneratorExp):
        return of_django.GENERATOR
    if isinstance(node, ast.Constant) and isinstance(node.value, bytes):
        return of_django.BYTES
    return ""


def _of_value(value: Value | None, resolver: Resolver) -> str:
    kind = ""
    if isinstance(value, RowsRef):
        kind = "" if value.has_values else of_django.MODEL
        if not value.is_list:
            kind = of_django.QUERYSET
    elif isinstance(value, Foreign):
        kind = _of_foreign(value.path)
    elif isinstance(value, InstanceRef):
        kind = _of_instance(value.cls, resolver)
    elif isinstance(value, FunctionRef | LambdaRef | ClassRef | TaskRef | ModuleRef | PackageRef):
        kind = of_django.CALLABLE
    elif isinstance(value, ResultRef):
        kind = of_django.OBJECT
    return kind


def _of_foreign(path: str) -> str:
    if path in of_django.NO_JSON:
        return of_django.NO_JSON[path]
    is_error = path.startswith("builtins.") and path.endswith(("Error()", "Exception()"))
    return of_django.ERROR if is_error else ""


def _of_instance(cls: ClassRef, resolver: Resolver) -> str:
    if resolver.is_model(cls):
        return of_django.MODEL
    bases = {base.path for base in resolver.ancestors(cls) if isinstance(base, Foreign)}
    for paths, kind in KINDS_OF_BASES:
        if not bases.isdisjoint(paths):
            return kind
    scope = resolver.project.scope_within(cls.node).parent
    decorators = [decorator_of(node) for node in cls.node.decorator_list]
    if scope and any(resolver.path(node, scope) in DATACLASSES for node in decorators):
        return of_django.DATACLASS
    return of_django.OBJECT


def _may_be_request(node: ast.expr, scope: Scope) -> bool:
    """A parameter with the name that Django's views give to it, or the attribute of a view."""
    if isinstance(node, ast.Name) and node.id == REQUEST_NAME:
        bindings = scope.lookup(node.id)
        return bool(bindings) and all(isinstance(each, ParameterBinding) for each in bindings)
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return node.attr == REQUEST_NAME and node.value.id == "self"
    return False


def find_functions(site: Site, resolver: Resolver) -> Iterator[AuditFinding]:
    """Functions that are given to a queue and are no tasks."""
    if not isinstance(site.node, ast.Call):
        return
    call = queue_call(site.node, site.scope, resolver)
    if call is None or call.function is None:
        return
    code, is_certain = _function_code(call, call.function, site, resolver)
    if code is not None:
        certain = is_certain and call.is_certain
        yield finding_at(
            site,
            code,
            _label(call.function, site, resolver),
            call.method,
            certain,
            node=call.function,
        )


def _label(node: ast.expr, site: Site, resolver: Resolver) -> str:
    value = resolver.value(node, site.scope)
    return value.label if isinstance(value, FunctionRef | ClassRef) else written(node)


def _function_code(
    call: QueueCall, node: ast.expr, site: Site, resolver: Resolver
) -> tuple[FindingCode | None, bool]:
    """What kind of function it is, None for a task, and whether that is certain."""
    value = resolver.value(node, site.scope)
    code: FindingCode | None = FindingCode.FUNCTION_UNKNOWN
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        code = FindingCode.FUNCTION_PATH
    elif isinstance(value, TaskRef):
        code = None
    elif isinstance(value, LambdaRef):
        code = FindingCode.FUNCTION_LAMBDA
    elif isinstance(value, FunctionRef):
        code = _of_function(value)
    elif isinstance(value, ClassRef | InstanceRef | MethodRef):
        # A wrapper is called on a class: which of its methods is run, it says itself.
        is_wrapped = call.code is FindingCode.CALL_WRAPPER
        code = None if is_wrapped else FindingCode.FUNCTION_METHOD
    elif isinstance(value, Foreign):
        code = FindingCode.FUNCTION_PLAIN
    return code, code is not FindingCode.FUNCTION_UNKNOWN


def _of_function(function: FunctionRef) -> FindingCode:
    if function.owner is not None:
        return FindingCode.FUNCTION_METHOD
    return FindingCode.FUNCTION_NESTED if function.depth else FindingCode.FUNCTION_PLAIN
