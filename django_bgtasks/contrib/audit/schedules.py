"""Jobs by the clock: beat's settings and tables, rq-scheduler, Huey's and django-q2's schedules."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .findings import AuditFinding, FindingCode
from .libraries import PERIODIC
from .nodes import keyword
from .refusals import has_refused_schedule, refused_schedule
from .resolver import Resolver
from .sites import Site, finding_at, written
from .values import ClassRef, Foreign, MethodRef, RowsRef, TaskRef

SETTINGS = frozenset({"CELERYBEAT_SCHEDULE", "CELERY_BEAT_SCHEDULE", "beat_schedule"})
ADD = frozenset({"celery.Celery().add_periodic_task"})
ADD_METHOD = "add_periodic_task"
SCHEDULE_CALLS = frozenset({
    "django_q.tasks.schedule", "dramatiq_crontab.cron", "periodiq.cron",
    "rq_scheduler.Scheduler().cron", "rq_scheduler.Scheduler().schedule",
    "rq_scheduler.Scheduler().enqueue_at", "rq_scheduler.Scheduler().enqueue_in",
    "rq.cron.register", "rq.cron.CronScheduler().register",
    "apscheduler.schedulers.background.BackgroundScheduler().add_job",
    "apscheduler.schedulers.blocking.BlockingScheduler().add_job",
})  # fmt: skip
TABLES = (
    "django_celery_beat.models.", "django_q.Schedule", "django_rq_scheduler.models.",
    "scheduler.models.",
)  # fmt: skip
ROWS = frozenset({
    "bulk_create", "create", "delete", "filter", "get", "get_or_create", "save", "update",
    "update_or_create", "exclude", "all",
})  # fmt: skip


def find_schedules(site: Site, resolver: Resolver) -> Iterator[AuditFinding]:
    """Schedules in the settings, in the code, and in tables."""
    node = site.node
    if isinstance(node, ast.Assign | ast.AnnAssign):
        yield from _assignment(site, node, resolver)
    elif isinstance(node, ast.Call):
        yield from _call(site, node, resolver)
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        task = resolver.definition(node, site.scope)
        for decorator in node.decorator_list:
            if resolver.decorator_path(decorator, site.scope) in PERIODIC:
                label = task.label if isinstance(task, TaskRef) else node.name
                yield finding_at(
                    site, FindingCode.SCHEDULE_CODE, label, written(decorator), node=decorator
                )
    elif isinstance(node, ast.ClassDef):
        cls = resolver.definition(node, site.scope)
        bases = [resolver.path(base, site.scope) for base in node.bases]
        if isinstance(cls, ClassRef) and any(path.startswith(TABLES) for path in bases):
            yield finding_at(site, FindingCode.SCHEDULE_TABLE, cls.label)


def _assignment(
    site: Site, node: ast.Assign | ast.AnnAssign, resolver: Resolver
) -> Iterator[AuditFinding]:
    """`CELERY_BEAT_SCHEDULE = {…}`, `app.conf.beat_schedule = {…}`, or one key of it."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    for target in targets:
        if isinstance(target, ast.Subscript) and name_of(target.value) in SETTINGS:
            if node.value is not None and has_refused_schedule(node.value, site, resolver):
                continue
            subject = written(target.slice)
            yield finding_at(site, FindingCode.SCHEDULE_SETTING, subject, name_of(target.value))
        elif name_of(target) in SETTINGS and node.value is not None:
            yield from schedule_entries(site, node.value, name_of(target), resolver)


def schedule_entries(
    site: Site, value: ast.expr, name: str, resolver: Resolver
) -> Iterator[AuditFinding]:
    """One finding for each schedule of a dict that works when moved, or one for what is no dict."""
    if not isinstance(value, ast.Dict):
        yield finding_at(site, FindingCode.SCHEDULE_SETTING, written(value), name)
        return
    for key, entry in zip(value.keys, value.values, strict=True):
        if has_refused_schedule(entry, site, resolver):
            continue
        label = written(key) if key is not None else written(entry)
        if isinstance(key, ast.Constant):
            label = str(key.value)
        task = _task_of(entry)
        yield finding_at(site, FindingCode.SCHEDULE_SETTING, label, task, node=key or entry)


def _task_of(entry: ast.expr) -> str:
    """The task of an entry, where it is written as a dict."""
    if not isinstance(entry, ast.Dict):
        return ""
    for key, value in zip(entry.keys, entry.values, strict=True):
        if isinstance(key, ast.Constant) and key.value == "task":
            return str(value.value) if isinstance(value, ast.Constant) else written(value)
    return ""


def name_of(node: ast.expr) -> str:
    """The last name of a target: `CELERY_BEAT_SCHEDULE`, or `app.conf.beat_schedule`."""
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else ""


def _call(site: Site, node: ast.Call, resolver: Resolver) -> Iterator[AuditFinding]:
    value = resolver.value(node.func, site.scope)
    path = value.path if isinstance(value, Foreign) else ""
    if refused_schedule(site, resolver) or any(
        has_refused_schedule(part, site, resolver) for part in node.args if path in ADD
    ):
        return
    if path in ADD or path in SCHEDULE_CALLS:
        yield finding_at(site, FindingCode.SCHEDULE_CODE, _subject(node), path.rpartition(".")[2])
    elif path.startswith(TABLES):
        method = path.rpartition(".")[2]
        is_row = "." not in path[len(TABLES[0]) :] and method[:1].isupper()
        if method in ROWS or is_row or path == "django_q.Schedule":
            yield finding_at(site, FindingCode.SCHEDULE_TABLE, written(node.func))
    elif isinstance(value, MethodRef) and _is_table(value, resolver):
        yield finding_at(site, FindingCode.SCHEDULE_TABLE, written(node.func))
    elif value is None and isinstance(node.func, ast.Attribute) and node.func.attr == ADD_METHOD:
        is_celery = "celery" in resolver.project.libraries
        if is_celery:
            yield finding_at(site, FindingCode.SCHEDULE_CODE, _subject(node), ADD_METHOD, False)


def _is_table(method: MethodRef, resolver: Resolver) -> bool:
    """Whether this is a method of the rows of a model that descends from such a table."""
    rows = method.owner
    if not isinstance(rows, RowsRef) or not isinstance(rows.model, ClassRef):
        return False
    return method.name in ROWS and any(
        isinstance(base, Foreign) and base.path.startswith(TABLES)
        for base in resolver.ancestors(rows.model)
    )


def _subject(node: ast.Call) -> str:
    for name in ("func", "name", "sig"):
        named = keyword(node, name)
        if named is not None:
            return written(named)
    place = 1 if len(node.args) > 1 else 0
    return written(node.args[place]) if node.args else written(node.func)
