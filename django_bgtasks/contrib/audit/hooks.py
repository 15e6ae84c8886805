"""Code around tasks and in the life of workers: signals, base classes, middleware, workers."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .findings import AuditFinding, FindingCode
from .libraries import CELERY, TASK_CLASS
from .resolver import Resolver
from .sites import Site, finding_at, written
from .values import ClassRef, MethodRef, TaskRef

HOOKS = frozenset({
    "__call__", "after_return", "before_start", "on_failure", "on_retry", "on_success",
    "on_replace", "on_bound", "apply_async", "retry", "shadow_name",
})  # fmt: skip
MIDDLEWARE = frozenset({"dramatiq.Middleware"})
WORKERS = frozenset({
    "celery.apps.worker.Worker", "celery.bootsteps.ConsumerStep", "celery.bootsteps.StartStopStep",
    "celery.bootsteps.Step", "celery.worker.request.Request", "rq.SimpleWorker", "rq.Worker",
    "celery.beat.Scheduler", "django_celery_beat.schedulers.DatabaseScheduler",
    "rq.Queue", "rq.Job", "celery.Celery", "celery.app.task.Context",
})  # fmt: skip
HUEY_SIGNALS = frozenset({
    "huey.Huey().on_shutdown", "huey.Huey().on_startup", "huey.Huey().post_execute",
    "huey.Huey().pre_execute", "huey.Huey().signal", "huey.Huey().disconnect_signal",
})  # fmt: skip
APP_SIGNALS = frozenset({
    "celery.Celery().on_after_configure", "celery.Celery().on_after_finalize",
    "celery.Celery().on_after_fork", "celery.Celery().on_configure", "celery.Celery().on_init",
    "celery.Celery().steps[].add",
})  # fmt: skip
SIGNAL_MODULES = ("celery.signals.", "django_q.signals.")
CONNECT = frozenset({"connect", "connect_via", "disconnect", "receive"})
RECEIVER = "django.dispatch.receiver"


def find_hooks(site: Site, resolver: Resolver) -> Iterator[AuditFinding]:
    """Signals of workers and tasks, and classes with methods that the library calls."""
    node = site.node
    if isinstance(node, ast.ClassDef):
        yield from _class(site, node, resolver)
    elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
        yield from _attribute(site, node, resolver)
    elif isinstance(node, ast.Call):
        yield from _call(site, node, resolver)
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        for decorator in node.decorator_list:
            # Without arguments: with them the call is found.
            if resolver.path(decorator, site.scope) in HUEY_SIGNALS:
                yield finding_at(
                    site, FindingCode.SIGNAL, written(decorator), node.name, node=decorator
                )


def _class(site: Site, node: ast.ClassDef, resolver: Resolver) -> Iterator[AuditFinding]:
    cls = resolver.definition(node, site.scope)
    if not isinstance(cls, ClassRef):
        return
    if resolver.has_base(cls, TASK_CLASS):
        methods = [
            each
            for each in node.body
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) and each.name in HOOKS
        ]
        if "run" not in site.scope.inner[id(node)].names:
            yield finding_at(site, FindingCode.BASE_CLASS, cls.label, CELERY)
        for method in methods:
            yield finding_at(site, FindingCode.HOOK, cls.label, method.name, node=method)
        return
    for base in node.bases:
        path = resolver.path(base, site.scope)
        if path in MIDDLEWARE:
            yield finding_at(site, FindingCode.MIDDLEWARE, cls.label, path)
        elif path in WORKERS:
            yield finding_at(site, FindingCode.WORKER_CLASS, cls.label, path)


def _attribute(site: Site, node: ast.Attribute, resolver: Resolver) -> Iterator[AuditFinding]:
    """`signals.task_failure.connect`, called, given on, or as a decorator."""
    if node.attr not in CONNECT:
        return
    path = resolver.path(node.value, site.scope)
    if path.startswith(SIGNAL_MODULES) or path in APP_SIGNALS:
        yield finding_at(site, FindingCode.SIGNAL, path.rpartition(".")[2], node.attr)


def _call(site: Site, node: ast.Call, resolver: Resolver) -> Iterator[AuditFinding]:
    value = resolver.value(node.func, site.scope)
    if isinstance(value, MethodRef) and isinstance(value.owner, TaskRef):
        return
    path = resolver.path(node.func, site.scope)
    if path in HUEY_SIGNALS:
        yield finding_at(site, FindingCode.SIGNAL, written(node.func), "huey")
    elif path == RECEIVER and node.args:
        first = node.args[0]
        for signal in first.elts if isinstance(first, ast.List | ast.Tuple) else [first]:
            name = resolver.path(signal, site.scope)
            if name.startswith(SIGNAL_MODULES):
                yield finding_at(site, FindingCode.SIGNAL, name.rpartition(".")[2], "receiver")
