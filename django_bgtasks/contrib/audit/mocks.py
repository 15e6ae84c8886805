"""Tests that replace tasks, or their methods, by mocks."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .findings import AuditFinding, FindingCode
from .libraries import ANY_TASK, FUNCTION_CALLS, MOVED, TASK_CALLS, library_of
from .resolver import Resolver
from .sites import Site, finding_at, written
from .values import FunctionRef, MethodRef, TaskRef, Value

PATCHES = frozenset({"patch", "setattr", "spy", "stub"})
# The methods of tasks of which a text names no other thing.
METHODS = frozenset({"apply_async", "delay", "send_with_options"})
# What goes with the old package, beside the libraries themselves.
AROUND = frozenset({
    "celery_once", "celery_singleton", "django_celery_beat", "django_celery_results",
    "django_huey", "kombu",
})  # fmt: skip
# What only mocks have.
MOCKS = frozenset({
    "assert_any_call", "assert_called", "assert_called_once", "assert_called_once_with",
    "assert_called_with", "assert_has_calls", "assert_not_called", "call_args", "call_args_list",
    "call_count", "called", "mock_calls", "reset_mock", "return_value", "side_effect",
})  # fmt: skip


def find_mocks(site: Site, resolver: Resolver) -> Iterator[AuditFinding]:
    """`patch("shop.tasks.send.delay")`, `patch.object(send, "delay")`, and what mocks are asked."""
    node = site.node
    if isinstance(node, ast.Attribute):
        yield from _mock_attribute(site, node, resolver)
    if not isinstance(node, ast.Call) or not node.args:
        return
    name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
    if isinstance(node.func, ast.Name):
        name = node.func.id
    first, second = node.args[0], node.args[1] if len(node.args) > 1 else None
    if name in PATCHES and isinstance(first, ast.Constant) and isinstance(first.value, str):
        yield from _by_path(site, first.value, resolver)
    elif name in PATCHES | {"object"} and isinstance(second, ast.Constant):
        yield from _by_object(site, first, str(second.value), resolver)


def _by_path(site: Site, text: str, resolver: Resolver) -> Iterator[AuditFinding]:
    names = text.split(".")
    if names[0] in AROUND or library_of(text) not in {"", MOVED}:
        yield finding_at(site, FindingCode.TEST_MOCK_PATH, text)
        return
    value = resolver.by_path(names, site.scope.source)
    if _is_task_thing(value):
        yield finding_at(site, FindingCode.TEST_MOCK, text)
    elif value is None and names[-1] in METHODS:
        # A method of a function that is no known task, or of a module that is not here.
        yield finding_at(site, FindingCode.TEST_MOCK, text, is_certain=False)


def _by_object(
    site: Site, target: ast.expr, name: str, resolver: Resolver
) -> Iterator[AuditFinding]:
    owner = resolver.value(target, site.scope)
    if owner is None:
        if name in METHODS:
            subject = f"{written(target)}.{name}"
            yield finding_at(site, FindingCode.TEST_MOCK, subject, is_certain=False)
        return
    value = resolver.attribute(owner, name)
    if _is_task_thing(value) or (isinstance(owner, FunctionRef) and name in METHODS):
        yield finding_at(site, FindingCode.TEST_MOCK, f"{written(target)}.{name}")


def _is_task_thing(value: Value | None) -> bool:
    """Whether this is a task, a method that enqueues, or a function of a queue."""
    task = value.owner if isinstance(value, MethodRef) else value
    if isinstance(task, TaskRef):
        return task.library != MOVED
    path = getattr(value, "path", "")
    return path in FUNCTION_CALLS or path in ANY_TASK


def _mock_attribute(site: Site, node: ast.Attribute, resolver: Resolver) -> Iterator[AuditFinding]:
    """`send.delay.assert_called_once()`: only where the task is known."""
    if node.attr not in MOCKS:
        return
    value = resolver.value(node.value, site.scope)
    if isinstance(value, MethodRef) and isinstance(value.owner, TaskRef):
        is_call = value.name in TASK_CALLS.get(value.owner.library, ())
        if is_call:
            yield finding_at(site, FindingCode.TEST_MOCK, value.owner.label, node.attr)
