"""What a project reads of its jobs, what tasks do with themselves, and the remote control."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .findings import AuditFinding, FindingCode
from .libraries import CELERY, HUEY, RQ, TASK_CALLS, TASK_SIGNATURES
from .resolver import Resolver
from .sites import Site, finding_at, written
from .values import Foreign, MethodRef, ResultRef, TaskRef

LOOKUPS = frozenset({
    "celery.result.AsyncResult", "celery.result.GroupResult", "celery.result.GroupResult.restore",
    "celery.result.ResultSet", "celery.result.result_from_tuple", "rq.Job.exists", "rq.Job.fetch",
    "rq.Job.fetch_many", "rq.Queue().fetch_job", "django_q.tasks.fetch",
    "django_q.tasks.fetch_group", "django_q.tasks.result", "django_q.tasks.result_group",
    "django_q.tasks.count_group", "django_rq.utils.get_jobs", "huey.Huey().result",
    "rq.Queue().get_jobs", "rq.Queue().get_job_ids",
})  # fmt: skip
REVOKES = frozenset({
    "celery.Celery().control.revoke", "celery.Celery().control.terminate",
    "celery.app.control.Control().revoke", "celery.task.control.revoke", "huey.Huey().revoke",
    "huey.Huey().revoke_all", "huey.Huey().revoke_by_id", "rq.Queue().remove", "rq.cancel_job",
    "rq.command.send_stop_job_command", "rq_scheduler.Scheduler().cancel",
})  # fmt: skip
CONTROLS = (
    "celery.Celery().control.", "celery.app.control.", "celery.task.control.", "django_q.cluster.",
    "django_q.monitor.", "django_q.status.", "django_rq.utils.", "rq.command.", "rq.registry.",
)  # fmt: skip
CONTROL_CALLS = frozenset({
    "celery.Celery().worker_main", "celery.Celery().start", "celery.Celery().Worker",
    "rq.Queue().count", "rq.Queue().empty", "rq.Queue().enqueue_job", "rq.Queue.all",
    "rq.Queue().delete", "rq.Queue().is_empty", "rq.Worker", "rq.Worker.all", "rq.Worker.count",
    "rq.Worker.find_by_key", "django_rq.get_worker", "django_rq.queues.get_queues",
    "django_rq.get_queue_by_index", "django_rq.queues.get_queue_by_index", "huey.Huey().flush",
})  # fmt: skip
RESULT_TABLES = ("django_celery_results.models.", "django_q.models.")
WAITS = frozenset({
    "__call__", "collect", "get", "iterate", "join", "join_native", "latest_result", "maybe_throw",
    "return_value", "wait", "get_result", "get_results",
})  # fmt: skip
REVOKE_METHODS = frozenset({"cancel", "forget", "revoke", "terminate", "delete", "requeue"})
HARMLESS = frozenset({"id", "task_id", "__class__", "key"})
REQUEST, STATE, RETRY = "request", "update_state", "retry"
OTHERS = frozenset({
    "add_to_chord", "add_trail", "backend", "chunks", "replace", "send_event", "send_events",
    "start_strategy", "subtask_from_request",
})  # fmt: skip
CURRENT = frozenset({"rq.get_current_job", "celery.current_task"})


def find_results(site: Site, resolver: Resolver) -> Iterator[AuditFinding]:
    """Results that are read or waited for, revoked jobs, and commands to workers."""
    node = site.node
    if isinstance(node, ast.Call):
        yield from _call(site, node, resolver)
    elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
        yield from _attribute(site, node, resolver)


def _call(site: Site, node: ast.Call, resolver: Resolver) -> Iterator[AuditFinding]:
    value = resolver.value(node.func, site.scope)
    if isinstance(value, ResultRef) and value.library == HUEY:
        yield finding_at(site, FindingCode.RESULT_WAIT, value.label, "()")
    if isinstance(value, MethodRef) and value.name == "AsyncResult":
        yield finding_at(site, FindingCode.RESULT_LOOKUP, written(node.func))
    if value is None and _sets_state(node) and CELERY in resolver.project.libraries:
        subject = written(node.func)
        yield finding_at(site, FindingCode.BOUND_STATE, subject, STATE, is_certain=False)
    if not isinstance(value, Foreign):
        return
    path = value.path
    if path in LOOKUPS:
        yield finding_at(site, FindingCode.RESULT_LOOKUP, written(node.func))
    elif path in REVOKES:
        yield finding_at(site, FindingCode.RESULT_REVOKE, written(node.func))
    elif path in CURRENT:
        yield finding_at(site, FindingCode.BOUND_REQUEST, written(node.func))
    elif path in CONTROL_CALLS or (path.startswith(CONTROLS) and not _goes_on(path)):
        yield finding_at(site, FindingCode.CONTROL, written(node.func))
    elif path.startswith(RESULT_TABLES) and ".objects." in path and "()" not in path:
        yield finding_at(site, FindingCode.RESULT_READ, written(node.func))


def _sets_state(node: ast.Call) -> bool:
    return isinstance(node.func, ast.Attribute) and node.func.attr == STATE


def _goes_on(path: str) -> bool:
    """Whether a path goes on behind what a call of a control returns."""
    prefix = next(prefix for prefix in CONTROLS if path.startswith(prefix))
    return "()" in path[len(prefix) :]


def _attribute(site: Site, node: ast.Attribute, resolver: Resolver) -> Iterator[AuditFinding]:
    value = resolver.value(node, site.scope)
    if not isinstance(value, MethodRef):
        return
    owner, name = value.owner, value.name
    if isinstance(owner, TaskRef) and owner.library == CELERY:
        yield from _of_task(site, owner, name)
    elif isinstance(owner, ResultRef) and name not in HARMLESS:
        subject = owner.label or written(node.value)
        if name in REVOKE_METHODS:
            yield finding_at(site, FindingCode.RESULT_REVOKE, subject, name)
        elif name in WAITS and not (name == "get" and owner.library == RQ):
            yield finding_at(site, FindingCode.RESULT_WAIT, subject, name)
        else:
            yield finding_at(site, FindingCode.RESULT_READ, subject, name)


def _of_task(site: Site, task: TaskRef, name: str) -> Iterator[AuditFinding]:
    parent = site.parent.node if site.parent else None
    note = f".{parent.attr}" if isinstance(parent, ast.Attribute) else ""
    subject = task.label or written(site.node)
    if name == RETRY:
        yield finding_at(site, FindingCode.BOUND_RETRY, subject, name)
    elif name == REQUEST:
        yield finding_at(site, FindingCode.BOUND_REQUEST, subject, f"{name}{note}")
    elif name == STATE:
        yield finding_at(site, FindingCode.BOUND_STATE, subject, name)
    elif name in OTHERS and name not in TASK_CALLS[CELERY] | TASK_SIGNATURES[CELERY]:
        yield finding_at(site, FindingCode.BOUND_OTHER, subject, name)
