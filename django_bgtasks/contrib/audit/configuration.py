"""Settings of the libraries, in any file: as names, as attributes of the app, or in tests."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .findings import AuditFinding, FindingCode
from .resolver import Resolver
from .schedules import SETTINGS as BEAT
from .schedules import name_of, schedule_entries
from .sites import Site, finding_at, written

EAGER = frozenset({
    "CELERY_ALWAYS_EAGER", "CELERY_EAGER_PROPAGATES", "CELERY_EAGER_PROPAGATES_EXCEPTIONS",
    "CELERY_TASK_ALWAYS_EAGER", "CELERY_TASK_EAGER_PROPAGATES", "CELERY_TASK_STORE_EAGER_RESULT",
    "task_always_eager", "task_eager_propagates", "task_store_eager_result",
})  # fmt: skip
ROUTES = frozenset({
    "CELERY_DEFAULT_QUEUE", "CELERY_QUEUES", "CELERY_ROUTES", "CELERY_TASK_CREATE_MISSING_QUEUES",
    "CELERY_TASK_DEFAULT_EXCHANGE", "CELERY_TASK_DEFAULT_PRIORITY", "CELERY_TASK_DEFAULT_QUEUE",
    "CELERY_TASK_DEFAULT_ROUTING_KEY", "CELERY_TASK_QUEUES", "CELERY_TASK_QUEUE_MAX_PRIORITY",
    "CELERY_TASK_ROUTES", "RQ_QUEUES", "task_create_missing_queues", "task_default_priority",
    "task_default_queue", "task_queue_max_priority", "task_queues", "task_routes",
})  # fmt: skip
OTHERS = frozenset({
    "BROKER_URL", "DJANGO_HUEY", "DRAMATIQ_AUTODISCOVER_MODULES", "DRAMATIQ_BROKER",
    "DRAMATIQ_ENCODER", "DRAMATIQ_IGNORED_MODULES", "DRAMATIQ_RATE_LIMITER_BACKEND",
    "DRAMATIQ_RESULT_BACKEND", "DRAMATIQ_TASKS_DATABASE", "HUEY", "Q_CLUSTER", "RQ",
    "RQ_API_TOKEN", "RQ_EXCEPTION_HANDLERS", "RQ_SHOW_ADMIN_LINK",
})  # fmt: skip
# How the names of Celery's settings begin, behind its namespace, today and before Celery 4.
AREAS = (
    "ACCEPT_", "ACKS_LATE", "ALWAYS_EAGER", "ANNOTATIONS", "BEAT_", "BROKER_", "CACHE_", "CONTROL_",
    "CREATE_MISSING", "DATABASE_", "DEFAULT_", "DISABLE_", "EAGER_", "ENABLE_", "EVENT_",
    "IGNORE_RESULT", "IMPORTS", "INCLUDE", "MESSAGE_", "MONGODB_", "ONCE", "QUEUES", "REDIRECT_",
    "REDIS_", "RESULT_", "ROUTES", "S3_", "SECURITY_", "SEND_", "STORE_", "TASK_", "TIMEZONE",
    "TRACK_STARTED", "WORKER_",
)  # fmt: skip
PREFIXES = ("CELERYBEAT_", "CELERYD_", *(f"CELERY_{area}" for area in AREAS))
DJANGO = "django.conf.settings"
CONFIGURATION = "celery.Celery().conf"
UPDATES = frozenset({f"{CONFIGURATION}.update", "celery.Celery"})
LOAD = frozenset({"celery.Celery().config_from_object", "celery.Celery().autodiscover_tasks"})


def find_settings(site: Site, resolver: Resolver) -> Iterator[AuditFinding]:
    """Settings, one finding for each; those that make tests eager are among the tests."""
    node = site.node
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            yield from _target(site, target, node.value, resolver)
    elif isinstance(node, ast.Call):
        yield from _call(site, node, resolver)
    elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
        is_known = is_setting_name(node.attr)
        if is_known and resolver.path(node.value, site.scope) == DJANGO:
            yield finding_at(site, code_of(node.attr), node.attr, "is read")


def _target(
    site: Site, target: ast.expr, value: ast.expr | None, resolver: Resolver
) -> Iterator[AuditFinding]:
    name = name_of(target)
    if isinstance(target, ast.Subscript):
        # `app.conf["task_always_eager"] = True`
        key = target.slice
        is_app = resolver.path(target.value, site.scope) == CONFIGURATION
        name = str(key.value) if is_app and isinstance(key, ast.Constant) else ""
    elif isinstance(target, ast.Attribute):
        owner = resolver.path(target.value, site.scope)
        is_app = owner == CONFIGURATION
        # `settings.CELERY_TASK_ALWAYS_EAGER`, of a fixture or of Django.
        is_setting = not is_app and name.isupper()
        name = name if is_app or is_setting else ""
        if is_app and name not in BEAT:
            yield finding_at(site, code_of(name), name, written(target))
            return
    elif site.scope.kind == "function":
        return
    if name and name not in BEAT and is_setting_name(name):
        note = written(value) if value is not None else ""
        yield finding_at(site, code_of(name), name, note)


def is_setting_name(name: str) -> bool:
    """Whether a setting of this name is one of the libraries."""
    return name in EAGER | ROUTES | OTHERS or (name.isupper() and name.startswith(PREFIXES))


def code_of(name: str) -> FindingCode:
    """What kind of setting it is."""
    if name in EAGER:
        return FindingCode.TEST_EAGER
    return FindingCode.SETTING_ROUTES if name in ROUTES else FindingCode.SETTING


def _call(site: Site, node: ast.Call, resolver: Resolver) -> Iterator[AuditFinding]:
    """`override_settings(…)`, `app.conf.update(…)`, `Celery(…, task_always_eager=True)`."""
    path = resolver.path(node.func, site.scope)
    if path in LOAD:
        yield finding_at(site, FindingCode.APP, written(node.func))
    is_override = path.endswith(("override_settings", "modify_settings")) or (
        isinstance(node.func, ast.Attribute)
        and node.func.attr in {"settings", "modify_settings", "override_settings"}
    )
    is_update = path in UPDATES
    if not is_override and not is_update:
        return
    pairs = [(item.arg, item.value, item.value) for item in node.keywords if item.arg]
    for argument in node.args:
        if isinstance(argument, ast.Dict):
            pairs += [
                (str(key.value), key, value)
                for key, value in zip(argument.keys, argument.values, strict=True)
                if isinstance(key, ast.Constant)
            ]
    for name, place, value in pairs:
        if is_update and name in BEAT:
            yield from schedule_entries(site, value, name, resolver)
        elif is_setting_name(name) or (is_update and path.endswith("update")):
            yield finding_at(site, code_of(name), name, written(node.func), node=place)
