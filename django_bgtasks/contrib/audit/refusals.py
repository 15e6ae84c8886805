"""What the moved imports refuse or do not have, so that it needs a thought before the move.

A test compares the names here with contrib.celery itself, which the audit does not import.
"""

from __future__ import annotations

import ast
import difflib
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
# What a definition knows beside these: what is close to one of them is refused as misspelt. A call
# refuses all that it does not know.
KNOWN_BY_TASKS = frozenset({
    "MaxRetriesExceededError", "OperationalError", "about", "abstract", "acks_late",
    "acks_on_failure", "acks_on_failure_or_timeout", "acks_on_timeout", "after_return",
    "aliases", "annotations", "app", "atomic", "autoretry_for", "backend", "base",
    "before_start", "bind", "compression", "dedup_key", "dedup_scope", "default_retry_delay",
    "delivery_mode", "dont_autoretry_for", "expires", "filter", "from_config", "ignore_result",
    "inline", "label", "lazy", "limit", "log", "max_retries", "missing", "name", "on_bound",
    "on_crash", "on_duplicate", "on_failed", "on_failure", "on_replace", "on_retry",
    "on_success", "owner", "priority", "pydantic_context", "pydantic_dump_kwargs",
    "pydantic_strict", "queue", "rate", "rate_limit", "reject_on_worker_lost", "request",
    "request_stack", "resultrepr_maxsize", "retry_backoff", "retry_backoff_max", "retry_jitter",
    "retry_kwargs", "retry_on_worker_lost", "run", "schedule", "send_events", "sensitive",
    "sequence", "serializer", "shadow_name", "shared", "soft_time_limit", "store_eager_result",
    "store_errors_even_if_ignored", "throws", "time_limit", "track_started", "trail", "types",
    "typing",
})  # fmt: skip
KNOWN_BY_CALLS = frozenset({
    "about", "add_to_parent", "args", "compression", "confirm_timeout", "connection",
    "content_encoding", "content_type", "countdown", "declare", "dedup_key", "dedup_scope",
    "delivery_mode", "eta", "expires", "headers", "ignore_result", "immediate", "inline",
    "kwargs", "label", "limit", "link", "link_error", "mandatory", "on_crash", "on_duplicate",
    "on_failed", "origin", "owner", "parent_id", "priority", "producer", "publisher", "queue",
    "rate", "reply_to", "result_cls", "retries", "retry", "retry_policy", "root_id",
    "route_name", "router", "sequence", "serializer", "shadow", "soft_time_limit", "task_id",
    "task_type", "time_limit", "timeout",
})  # fmt: skip
CALLS = frozenset({"apply_async", "apply_async_on_commit", "partial(apply_async)"})
# How close, as contrib.celery has it.
CLOSE = 0.8
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
SIGNALS_NOT_SENT = frozenset({
    "beat_embedded_init", "beat_init", "celeryd_after_setup", "celeryd_init",
    "eventlet_pool_started", "heartbeat_sent", "import_modules", "task_received",
    "task_rejected", "task_revoked", "task_unknown", "user_preload_options", "worker_init",
    "worker_ready", "worker_shutdown", "worker_shutting_down",
})  # fmt: skip

SOLAR = frozenset({"celery.schedules.solar", "django_celery_beat.models.SolarSchedule"})
# Whose days must be of the week or of the month: the places and names of these two.
CRONTABS = {
    "celery.crontab": ((2, "day_of_week"), (3, "day_of_month")),
    "huey.crontab": ((2, "day"), (4, "day_of_week")),
}
ALL_DAYS = frozenset({"*", "*/1"})


def is_refused(item: ast.keyword, beside: Iterable[ast.keyword], method: str) -> bool:
    """Whether contrib.celery refuses this option.

    beside: all keywords; method: that of a call of the task, empty for its definition.
    """
    name, value = item.arg or "", item.value
    is_empty = isinstance(value, ast.Constant) and not value.value
    if not name or (method and method not in CALLS):
        return False
    if not method:
        is_false = isinstance(value, ast.Constant) and value.value is False
        if _is_misspelt(name):
            return True
        return (name in REFUSED_BY_TASKS and not is_empty) or (
            name in REFUSED_AS_FALSE and is_false
        )
    if name == "task_id":
        return _is_no_uuid(value)
    queue = next((other.value for other in beside if other.arg == "queue"), None)
    if name in ROUTINGS and queue is not None and ast.dump(queue) == ast.dump(value):
        return False
    is_known = name in KNOWN_BY_CALLS | REFUSED_BY_CALLS
    return not is_known or (name in REFUSED_BY_CALLS and not is_empty)


def _is_misspelt(name: str) -> bool:
    known = KNOWN_BY_TASKS | REFUSED_BY_TASKS
    close = difflib.get_close_matches(name, KNOWN_BY_TASKS, n=1, cutoff=CLOSE)
    return name not in known and bool(close)


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
        if top != "celery":
            continue
        if below == SIGNALS:
            if name in SIGNALS_NOT_SENT:
                yield f"{path}.{name}"
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
