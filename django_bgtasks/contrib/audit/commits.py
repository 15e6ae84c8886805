"""`transaction.on_commit(lambda: task.delay())`, which is not needed where jobs commit."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .calls import QueueCall, queue_call
from .findings import AuditFinding, FindingCode
from .libraries import FUNCTION_CALLS, TASK_CALLS
from .resolver import Resolver
from .sites import Site, finding_at, sites_within, written
from .values import Foreign, FunctionRef, LambdaRef, MethodRef, TaskRef, Value

ON_COMMIT = frozenset({
    "django.db.transaction.on_commit", "django.db.connection.on_commit",
    "django.db.connections[].on_commit", "django.db.transaction.get_connection().on_commit",
})  # fmt: skip
# Functions of this depth of functions that call each other are followed.
DEPTH = 3


def find_commits(site: Site, resolver: Resolver) -> Iterator[AuditFinding]:
    """Functions given to `on_commit` that enqueue, and methods that wait for the commit."""
    node = site.node
    if not isinstance(node, ast.Call):
        return
    call = queue_call(node, site.scope, resolver)
    if call is not None and call.code is FindingCode.COMMIT_METHOD:
        yield finding_at(site, call.code, call.subject, call.method, call.is_certain)
    if resolver.path(node.func, site.scope) not in ON_COMMIT:
        return
    callback = node.args[0] if node.args else None
    callback = callback or next((item.value for item in node.keywords if item.arg == "func"), None)
    if callback is not None:
        yield from _callback(site, callback, resolver)


def _callback(site: Site, callback: ast.expr, resolver: Resolver) -> Iterator[AuditFinding]:
    value = resolver.value(callback, site.scope)
    if isinstance(value, MethodRef) and isinstance(value.owner, TaskRef):
        if value.name in TASK_CALLS.get(value.owner.library, ()):
            note = f"on_commit({written(callback)})"
            yield finding_at(site, FindingCode.COMMIT_WRAPPER, value.owner.label, note)
        return
    if (
        isinstance(value, Foreign)
        and value.path in FUNCTION_CALLS
        and isinstance(callback, ast.Name)
    ):
        # A name that stands for `partial(queue.enqueue, f)`.
        yield finding_at(site, FindingCode.COMMIT_WRAPPER, value.path, f"on_commit({callback.id})")
        return
    calls, others = _calls_of(site, callback, value, resolver)
    if not calls:
        yield from _through(site, callback, value, resolver)
    else:
        subject = ", ".join(dict.fromkeys(call.subject for call in calls))
        note = "" if not others else "the function does more than that"
        is_certain = not others and all(call.is_certain for call in calls)
        yield finding_at(site, FindingCode.COMMIT_WRAPPER, subject, note, is_certain)


def _through(
    site: Site, callback: ast.expr, value: Value | None, resolver: Resolver
) -> Iterator[AuditFinding]:
    """A function that calls a function of the project that enqueues."""
    if isinstance(value, FunctionRef):
        functions = [value]
    else:
        found = (
            resolver.value(inside.node.func, inside.scope)
            for inside in sites_within(callback, site.scope)
            if isinstance(inside.node, ast.Call)
        )
        functions = [each for each in found if isinstance(each, FunctionRef)]
    for function in functions:
        if enqueues(function, resolver):
            note = "enqueues in its own code"
            yield finding_at(site, FindingCode.COMMIT_WRAPPER, function.label, note, False)
            return


def enqueues(function: FunctionRef, resolver: Resolver, depth: int = 0) -> bool:
    """Whether a function of the project enqueues, itself or through the functions that it calls."""
    known, key = resolver.enqueuing, id(function.node)
    if key in known or depth == DEPTH:
        return known.get(key, False)
    known[key] = False
    scope = resolver.project.scope_within(function.node).parent
    for site in sites_within(function.node, scope) if scope else ():
        if isinstance(site.node, ast.Call):
            value = resolver.value(site.node.func, site.scope)
            if queue_call(site.node, site.scope, resolver) is not None or (
                isinstance(value, FunctionRef) and enqueues(value, resolver, depth + 1)
            ):
                known[key] = True
                return True
    return False


def _calls_of(
    site: Site, callback: ast.expr, value: Value | None, resolver: Resolver
) -> tuple[list[QueueCall], bool]:
    """The calls that enqueue in a function, and whether it does something else too."""
    if isinstance(value, FunctionRef):
        body: ast.AST = value.node
        scope = resolver.project.scope_within(value.node).parent
        statements = [each for each in value.node.body if not _is_docstring(each)]
    else:
        body, scope, statements = callback, site.scope, []
        if isinstance(value, LambdaRef):
            # A name may stand for it: its own scope lies around where it is written.
            body = value.node
            inner = resolver.project.scope_within(value.node)
            scope = inner.parent
    if scope is None:
        return [], False
    calls: list[QueueCall] = []
    has_others = False
    for inside in sites_within(body, scope):
        if isinstance(inside.node, ast.Call):
            call = queue_call(inside.node, inside.scope, resolver)
            if call is None:
                # What leads to the method, as `send.s(1).set(…).delay()`, is no other work.
                has_others |= not _is_receiver(inside, resolver)
            elif not _is_part(inside, resolver):
                calls.append(call)
    is_lambda = isinstance(body, ast.Lambda)
    return calls, has_others if is_lambda else len(statements) > len(calls)


def _is_receiver(site: Site, resolver: Resolver) -> bool:
    """Whether on what a call returns another method is called, and in the end one that enqueues."""
    while (outer := site.parent) is not None:
        if isinstance(outer.node, ast.Call) and outer.node.func is site.node:
            if queue_call(outer.node, outer.scope, resolver) is not None:
                return True
        elif not isinstance(outer.node, ast.Attribute):
            return False
        site = outer
    return False


def _is_part(site: Site, resolver: Resolver) -> bool:
    """Whether a call is a part of a call that enqueues, such as a step of a chain."""
    return any(
        isinstance(outer.node, ast.Call)
        and queue_call(outer.node, outer.scope, resolver) is not None
        for outer in site.around()
    )


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
