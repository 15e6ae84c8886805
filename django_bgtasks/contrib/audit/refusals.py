"""What the moved imports refuse or do not have, so that it needs a thought before the move.

A test compares the names here with contrib.celery itself, which the audit does not import.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from uuid import UUID

from .findings import AuditFinding, FindingCode
from .libraries import CELERY, TASK_CLASS
from .nodes import keyword
from .resolver import Resolver
from .sites import Site, finding_at, sites_within, written
from .values import ClassRef, Foreign, MethodRef, SignatureRef

# Options that a definition or a call refuses if they are set; those that it refuses as False.
REFUSED_BY_TASKS = frozenset({
    "Request", "Strategy", "exchange", "exchange_type", "expected", "pydantic", "queue_name",
    "retry", "routing_key", "takes_context", "timeout",
})  # fmt: skip
REFUSED_AS_FALSE = frozenset({"acks_on_failure", "acks_on_failure_or_timeout"})
REFUSED_BY_CALLS = frozenset({
    "chain", "chord", "exchange", "group_id", "group_index", "replaced_task_nesting",
    "routing_key", "stamped_headers",
})  # fmt: skip
# These may say once more what `queue` says, at a call.
ROUTINGS = frozenset({"exchange", "routing_key"})
# Of a class of tasks.
REFUSED_BY_CLASSES = frozenset({"Request", "Strategy"})

APP = "celery.Celery()"
APP_NO_EQUAL = frozenset({
    "amqp", "annotations", "backend", "broker_connection", "bugreport", "clock", "connection",
    "connection_for_read", "connection_for_write", "connection_or_acquire", "default_connection",
    "default_producer", "either", "events", "events_cls", "fixups", "loader", "loader_cls", "log",
    "log_cls", "on_after_fork", "on_init", "pool", "prepare_config", "producer_or_acquire",
    "producer_pool", "select_queues", "set_as_current", "setup_security", "steps",
    "subclass_with_self", "type_checker",
})  # fmt: skip
SIGNATURE_NO_EQUAL = frozenset({
    "append_to_list_option", "election", "extend_list_option", "flatten_links", "freeze", "stamp",
    "stamp_links",
})  # fmt: skip

# The modules of Celery that contrib.celery has, below `celery`, with the names that it has of
# each. Of the signals the finder of signals knows more.
CELERY_NAMES: dict[str, frozenset[str]] = {
    "": frozenset({
        "AsyncResult", "Celery", "EagerResult", "GroupResult", "ResultSet", "Signature", "Task",
        "canvas", "chain", "chord", "crontab", "current_app", "current_task", "exceptions",
        "group", "maybe_signature", "result", "schedules", "shared_task", "signals", "signature",
        "states", "subtask", "utils", "uuid",
    }),
    "app": frozenset({"app_or_default", "shared_task"}),
    "app.base": frozenset({"Celery"}),
    "app.task": frozenset({"Task"}),
    "canvas": frozenset({
        "Signature", "chain", "chord", "group", "maybe_signature", "signature", "subtask",
    }),
    "contrib": frozenset(),
    "contrib.pytest": frozenset({
        "celery_app", "celery_config", "celery_session_app", "celery_session_worker",
        "celery_worker",
    }),
    "contrib.testing": frozenset(),
    "contrib.testing.worker": frozenset({"start_worker"}),
    "exceptions": frozenset({
        "AlreadyRegistered", "CeleryError", "ChordError", "Ignore", "ImproperlyConfigured",
        "IncompleteStream", "InvalidTaskError", "MaxRetriesExceededError", "NotRegistered",
        "OperationalError", "QueueNotFound", "Reject", "Retry", "RetryTaskError", "SecurityError",
        "SoftTimeLimitExceeded", "TaskError", "TaskPredicate", "TaskRevokedError", "Terminated",
        "TimeLimitExceeded", "TimeoutError", "WorkerLostError",
    }),
    "result": frozenset({
        "AsyncResult", "EagerResult", "GroupResult", "ResultBase", "ResultSet",
        "allow_join_result", "result_from_tuple",
    }),
    "schedules": frozenset({"crontab", "schedule", "solar"}),
    "states": frozenset({
        "ALL_STATES", "EXCEPTION_STATES", "FAILURE", "IGNORED", "PENDING", "PROPAGATE_STATES",
        "READY_STATES", "RECEIVED", "REJECTED", "RETRY", "REVOKED", "STARTED", "SUCCESS",
        "UNREADY_STATES",
    }),
    "utils": frozenset({"log", "time", "uuid"}),
    "utils.log": frozenset({"get_logger", "get_task_logger"}),
    "utils.time": frozenset({"get_exponential_backoff_interval"}),
}  # fmt: skip
SIGNALS = "signals"

SOLAR = frozenset({"celery.schedules.solar", "django_celery_beat.models.SolarSchedule"})
# Whose days must be of the week or of the month: the places and names of these two.
CRONTABS = {
    "celery.crontab": ((2, "day_of_week"), (3, "day_of_month")),
    "huey.crontab": ((2, "day"), (4, "day_of_week")),
}
ALL_DAYS = frozenset({"*", "*/1"})


def is_refused(item: ast.keyword, beside: Iterable[ast.keyword], is_call: bool) -> bool:
    """Whether contrib.celery refuses this option. beside: all keywords; is_call: of a call."""
    name, value = item.arg or "", item.value
    is_empty = isinstance(value, ast.Constant) and not value.value
    if not is_call:
        is_false = isinstance(value, ast.Constant) and value.value is False
        return (name in REFUSED_BY_TASKS and not is_empty) or (
            name in REFUSED_AS_FALSE and is_false
        )
    if name == "task_id":
        return _is_no_uuid(value)
    queue = next((other.value for other in beside if other.arg == "queue"), None)
    if name in ROUTINGS and queue is not None and ast.dump(queue) == ast.dump(value):
        return False
    return name in REFUSED_BY_CALLS and not is_empty


def _is_no_uuid(value: ast.expr) -> bool:
    """Whether a text is written here that makes no UUID."""
    if isinstance(value, ast.JoinedStr):
        parts = [part.value for part in value.values if isinstance(part, ast.Constant)]
        return not set("".join(map(str, parts))) <= set("0123456789abcdefABCDEF-")
    if not isinstance(value, ast.Constant) or value.value is None:
        return False
    try:
        UUID(str(value.value))
    except ValueError:
        return True
    return False


def find_refusals(site: Site, resolver: Resolver) -> Iterator[AuditFinding]:
    """Imports and attributes without an equal, refused schedules, and what a base class refuses."""
    node = site.node
    if isinstance(node, ast.Import | ast.ImportFrom):
        for name in _missing(node):
            yield finding_at(site, FindingCode.NO_EQUAL, name)
    elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
        value = resolver.value(node, site.scope)
        if isinstance(value, Foreign):
            owner, _, name = value.path.rpartition(".")
            if owner == APP and name in APP_NO_EQUAL:
                yield finding_at(site, FindingCode.NO_EQUAL, written(node))
        elif isinstance(value, MethodRef) and _is_of_signature(value):
            yield finding_at(site, FindingCode.NO_EQUAL, written(node))
    elif isinstance(node, ast.ClassDef):
        yield from _class(site, node, resolver)
    elif isinstance(node, ast.Call):
        refused = refused_schedule(site, resolver)
        if refused is not None:
            yield finding_at(site, FindingCode.SCHEDULE_REFUSED, written(node), is_certain=refused)


def _is_of_signature(method: MethodRef) -> bool:
    """Whether this is a method of Celery's signatures that is refused or is not there."""
    owner = method.owner
    is_signature = isinstance(owner, SignatureRef) and owner.library == CELERY
    return is_signature and method.name in SIGNATURE_NO_EQUAL


def _missing(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """The modules and names of Celery that a statement imports and contrib.celery has not."""
    if isinstance(node, ast.Import):
        paths = [(alias.name, "") for alias in node.names]
    else:
        module = "" if node.level else node.module or ""
        paths = [(module, alias.name) for alias in node.names]
    for path, name in paths:
        top, _, below = path.partition(".")
        if top != "celery" or below == SIGNALS or (not below and name == SIGNALS):
            continue
        names = CELERY_NAMES.get(below)
        inner = f"{below}.{name}".lstrip(".")
        if names is None or (name not in {"", "*"} | names and inner not in CELERY_NAMES):
            yield f"{path}.{name}".rstrip(".")


def _class(site: Site, node: ast.ClassDef, resolver: Resolver) -> Iterator[AuditFinding]:
    cls = resolver.definition(node, site.scope)
    if not isinstance(cls, ClassRef) or not resolver.has_base(cls, TASK_CLASS):
        return
    for statement in node.body:
        name = statement.name if isinstance(statement, ast.ClassDef) else ""
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            name = statement.targets[0].id
        if name in REFUSED_BY_CLASSES:
            yield finding_at(site, FindingCode.OPTION_REFUSED, cls.label, name, node=statement)


def refused_schedule(site: Site, resolver: Resolver) -> bool | None:
    """Whether a call makes a schedule that is refused: True, or False where it may be one.

    None for any other.
    """
    node = site.node
    path = resolver.path(node.func, site.scope) if isinstance(node, ast.Call) else ""
    if path.removesuffix(".objects.create").removesuffix(".objects.get_or_create") in SOLAR:
        return True
    if path not in CRONTABS or not isinstance(node, ast.Call):
        return None
    days = [_field(node, place, name) for place, name in CRONTABS[path]]
    if any(day is None or _is_every(day) for day in days):
        return None
    return all(isinstance(day, ast.Constant) for day in days)


def has_refused_schedule(node: ast.AST, site: Site, resolver: Resolver) -> bool:
    """Whether a part of this expression is certainly a refused schedule, found by itself."""
    return any(refused_schedule(each, resolver) for each in sites_within(node, site.scope))


def _field(node: ast.Call, place: int, name: str) -> ast.expr | None:
    named = keyword(node, name)
    return named or (node.args[place] if place < len(node.args) else None)


def _is_every(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value in ALL_DAYS
