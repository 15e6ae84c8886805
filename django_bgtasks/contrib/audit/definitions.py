"""Definitions of tasks, the app, and the options that need a thought."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from .calls import queue_call
from .findings import AuditFinding, FindingCode
from .libraries import (
    CELERY,
    DECORATORS,
    DRAMATIQ,
    HUEY,
    MOVED,
    Q2,
    RQ,
    TASK_CLASS,
    TASKS,
)
from .refusals import is_refused
from .resolver import Resolver
from .sites import Site, finding_at, written
from .values import ClassRef, TaskRef

APPS = {
    "celery.Celery": CELERY, "huey.Huey": HUEY, "dramatiq.set_broker": DRAMATIQ,
    "dramatiq.brokers.redis.RedisBroker": DRAMATIQ,
    "dramatiq.brokers.rabbitmq.RabbitmqBroker": DRAMATIQ,
    "rq_scheduler.Scheduler": RQ, "rq.Queue": RQ,
}  # fmt: skip

_RETRY = dict.fromkeys((
    "autoretry_for", "default_retry_delay", "dont_autoretry_for", "max_age", "max_backoff",
    "max_retries", "min_backoff", "retries", "retry", "retry_backoff", "retry_backoff_max",
    "retry_delay", "retry_jitter", "retry_kwargs", "retry_policy", "retry_when", "throws",
), FindingCode.OPTION_RETRY)  # fmt: skip
_TIME = dict.fromkeys((
    "countdown", "delay", "eta", "expires", "job_timeout", "soft_time_limit", "time_limit",
    "timeout", "ttl",
), FindingCode.OPTION_TIME)  # fmt: skip
_QUEUE = dict.fromkeys((
    "at_front", "cluster", "exchange", "priority", "queue", "queue_name", "routing_key",
), FindingCode.OPTION_QUEUE)  # fmt: skip
_RESULT = dict.fromkeys((
    "failure_ttl", "group_result_ttl", "result_ttl", "results", "save", "store_results", "cached",
), FindingCode.OPTION_RESULT)  # fmt: skip
_LINK = dict.fromkeys((
    "depends_on", "hook", "link", "link_error", "on_failure", "on_stopped", "on_success", "chain",
    "chord", "pipe_ignore", "pipeline",
), FindingCode.OPTION_LINK)  # fmt: skip
_OTHER = dict.fromkeys((
    "broker", "broker_name", "compression", "connection", "max_calls", "meta", "producer",
    "reject_on_worker_lost", "serializer", "shadow", "sync", "ack_failure", "actor_class",
    "repeat", "repeats", "interval",
), FindingCode.OPTION_OTHER)  # fmt: skip
_COMMON = _RETRY | _TIME | _QUEUE | _RESULT | _LINK | _OTHER
# Per library: what a keyword means. What is not here harms nothing, or is a task's own argument.
OPTIONS = {
    CELERY: _COMMON | {
        "base": FindingCode.OPTION_BASE, "headers": FindingCode.OPTION_HEADERS,
        "name": FindingCode.OPTION_NAME, "rate_limit": FindingCode.OPTION_RATE,
        "task_id": FindingCode.OPTION_OTHER,
    },
    RQ: _COMMON | {"job_id": FindingCode.OPTION_OTHER},
    HUEY: _COMMON | {"context": FindingCode.OPTION_OTHER, "name": FindingCode.OPTION_NAME},
    DRAMATIQ: _COMMON | {"actor_name": FindingCode.OPTION_NAME},
    Q2: _COMMON,
}  # fmt: skip
# The class attributes of Celery's class-based tasks that are options.
CLASS_OPTIONS = OPTIONS[CELERY]


def find_definitions(site: Site, resolver: Resolver) -> Iterator[AuditFinding]:
    """Functions and classes that are tasks, with the options at their definition."""
    node = site.node
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        yield from _function(site, node, resolver)
    elif isinstance(node, ast.ClassDef):
        yield from _class(site, node, resolver)
    elif isinstance(node, ast.Call):
        yield from _call(site, node, resolver)


def _function(
    site: Site, node: ast.FunctionDef | ast.AsyncFunctionDef, resolver: Resolver
) -> Iterator[AuditFinding]:
    task = resolver.definition(node, site.scope)
    if not isinstance(task, TaskRef) or task.library == MOVED:
        return
    is_ours = task.library == TASKS
    code = FindingCode.TASK_DJANGO if is_ours else FindingCode.TASK_FUNCTION
    yield from _place(site, task)
    if isinstance(node, ast.AsyncFunctionDef) and task.library == CELERY:
        yield finding_at(site, FindingCode.OPTION_REFUSED, task.label, "async def")
    for decorator in node.decorator_list:
        path = resolver.decorator_path(decorator, site.scope)
        if path in DECORATORS:
            yield finding_at(site, code, task.label, task.library, node=decorator)
        if path in DECORATORS and isinstance(decorator, ast.Call):
            yield from option_findings(site, decorator.keywords, task.library, task.label)
            if task.library == RQ and decorator.args:
                queue = decorator.args[0]
                yield finding_at(
                    site,
                    FindingCode.OPTION_QUEUE,
                    task.label,
                    f"queue={written(queue)}",
                    node=queue,
                )


def _place(site: Site, task: TaskRef) -> Iterator[AuditFinding]:
    """A task that is no function at the top level of its module: workers could not find it."""
    function = task.function
    if function is not None and function.owner is not None:
        yield finding_at(site, FindingCode.FUNCTION_METHOD, task.label, task.library)
    elif function is not None and function.depth:
        yield finding_at(site, FindingCode.FUNCTION_NESTED, task.label, task.library)


def option_findings(
    site: Site,
    keywords: Sequence[ast.keyword],
    library: str,
    subject: str,
    method: str = "",
) -> Iterator[AuditFinding]:
    """The options among these keywords that need a thought. method: of a call of the task."""
    known = OPTIONS.get(library, {})
    for item in keywords:
        code = known.get(item.arg or "")
        if library == CELERY and is_refused(item, keywords, method):
            code = FindingCode.OPTION_REFUSED
        if code is not None and not _is_none(item.value):
            note = f"{item.arg}={written(item.value)}"
            yield finding_at(site, code, subject, note, node=item)


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _class(site: Site, node: ast.ClassDef, resolver: Resolver) -> Iterator[AuditFinding]:
    cls = resolver.definition(node, site.scope)
    if not isinstance(cls, ClassRef) or not resolver.has_base(cls, TASK_CLASS):
        return
    if "run" in site.scope.inner[id(node)].names:
        yield finding_at(site, FindingCode.TASK_CLASS, cls.label, CELERY)
    # A class without `run` is a base, and its options are those of its tasks.
    for statement in node.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            name = statement.targets[0].id
            code = CLASS_OPTIONS.get(name)
            if code is not None and not _is_none(statement.value):
                note = f"{name}={written(statement.value)}"
                yield finding_at(site, code, cls.label, note, node=statement)


def _call(site: Site, node: ast.Call, resolver: Resolver) -> Iterator[AuditFinding]:
    """`shared_task(f)` without the sign @, the app itself, and the options of a call."""
    value = resolver.value(node, site.scope)
    path = resolver.path(node.func, site.scope)
    parent = site.parent.node if site.parent else None
    is_decorator = isinstance(parent, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    library = DECORATORS.get(path.removesuffix("()"), MOVED)
    if isinstance(value, TaskRef) and not is_decorator and library != MOVED:
        yield finding_at(site, FindingCode.TASK_FUNCTION, value.label, value.library)
        yield from option_findings(site, node.keywords, value.library, value.label)
    if path in APPS or _makes_app(node, site, resolver):
        yield finding_at(site, FindingCode.APP, written(node.func), APPS.get(path, CELERY))
    call = queue_call(node, site.scope, resolver)
    if call is not None and call.is_certain:
        yield from option_findings(site, call.options, call.library, call.subject, call.method)


def _makes_app(node: ast.Call, site: Site, resolver: Resolver) -> bool:
    cls = resolver.value(node.func, site.scope)
    return isinstance(cls, ClassRef) and resolver.has_base(cls, "celery.Celery")
