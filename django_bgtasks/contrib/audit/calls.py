"""Where jobs are enqueued: `.delay()`, `queue.enqueue(f)`, chains, and calls that may be such."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from .findings import AuditFinding, FindingCode
from .libraries import (
    CANVASES,
    CELERY,
    DRAMATIQ,
    FUNCTION_CALLS,
    HUEY,
    MOVED,
    NAME_CALLS,
    ON_COMMIT_CALLS,
    RQ,
    SIGNATURE_CALLS,
    TASK_CALLS,
    TASK_SIGNATURES,
    TASKS,
    library_of,
)
from .nodes import keyword
from .resolver import PARTIALS, Resolver
from .scopes import ParameterBinding, Scope
from .sites import Site, finding_at, sites_within, written
from .values import (
    ClassRef,
    Foreign,
    FunctionRef,
    InstanceRef,
    MethodRef,
    SignatureRef,
    TaskRef,
)

# Methods that mean a job whatever they are called on, if the project has one of the libraries.
DISTINCT = {
    "apply_async": frozenset({CELERY}),
    "apply_async_on_commit": frozenset({CELERY}),
    "delay": frozenset({CELERY, RQ}),
    "delay_on_commit": frozenset({CELERY}),
    "enqueue": frozenset({RQ}),
    "enqueue_at": frozenset({RQ}),
    "enqueue_call": frozenset({RQ}),
    "enqueue_in": frozenset({RQ}),
    "send_task": frozenset({CELERY}),
    "send_with_options": frozenset({DRAMATIQ}),
    "si": frozenset({CELERY}),
}
FUNCTION_METHODS = {"enqueue": 0, "enqueue_call": 0, "enqueue_in": 1, "enqueue_at": 1}
# Those whose arguments of the task are in `args` and `kwargs`.
WITH_LISTS = frozenset({
    "apply_async", "apply_async_on_commit", "apply", "signature", "subtask", "send_with_options",
    "message_with_options", "schedule",
})  # fmt: skip
INLINE = frozenset({"apply", "call_local"})
# The keyword of mocks that names what they call: the mock itself is found among the tests.
WRAPS = "wraps"
# Functions of this depth of functions that call each other are followed.
WRAPPER_DEPTH = 4


@dataclass(frozen=True, slots=True, eq=False)
class QueueCall:
    """A call that enqueues a job or makes a call for later.

    arguments: what the task gets, as far as it is written here; function: what is to be run, where
    a function is given; options: the keywords that are none of the task's.
    """

    node: ast.Call
    code: FindingCode
    library: str
    subject: str
    method: str
    is_certain: bool = True
    arguments: tuple[ast.expr, ...] = ()
    function: ast.expr | None = None
    options: tuple[ast.keyword, ...] = ()


def find_calls(site: Site, resolver: Resolver) -> Iterator[AuditFinding]:
    """Calls of tasks and of functions through a queue, and methods that are given on."""
    node = site.node
    if isinstance(node, ast.Call):
        call = queue_call(node, site.scope, resolver)
        if call is not None and call.code is not FindingCode.COMMIT_METHOD:
            yield finding_at(site, call.code, call.subject, call.method, call.is_certain)
    elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
        yield from _reference(site, node, resolver)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        is_inner = site.parent is not None and isinstance(site.parent.node, ast.BinOp)
        value = None if is_inner else resolver.value(node, site.scope)
        if isinstance(value, SignatureRef):
            yield finding_at(site, FindingCode.CALL_CANVAS, value.label or written(node), "|")


def _reference(site: Site, node: ast.Attribute, resolver: Resolver) -> Iterator[AuditFinding]:
    parent = site.parent.node if site.parent else None
    if isinstance(parent, ast.keyword) and parent.arg == WRAPS:
        return
    if isinstance(parent, ast.Attribute) or (isinstance(parent, ast.Call) and parent.func is node):
        return
    if isinstance(parent, ast.Call) and resolver.path(parent.func, site.scope) in PARTIALS:
        return
    value = resolver.value(node, site.scope)
    if isinstance(value, MethodRef) and isinstance(value.owner, TaskRef):
        task = value.owner
        if value.name in TASK_CALLS.get(task.library, ()):
            yield finding_at(site, FindingCode.CALL_REFERENCE, task.label, value.name)


def queue_call(node: ast.Call, scope: Scope, resolver: Resolver) -> QueueCall | None:
    """What this call enqueues; None if it enqueues nothing, as far as can be seen."""
    value = resolver.value(node.func, scope)
    call: QueueCall | None = None
    if isinstance(value, Foreign) and value.path in PARTIALS and node.args:
        call = _partial(node, scope, resolver)
    elif isinstance(value, MethodRef):
        call = _method(value, node)
    elif isinstance(value, SignatureRef):
        subject = value.label or written(node.func)
        call = QueueCall(node, FindingCode.CALL, value.library, subject, "()")
    elif isinstance(value, TaskRef) and value.library == HUEY:
        call = _task_call(FindingCode.CALL, value, "()", node)
    elif isinstance(value, Foreign):
        call = _foreign(value.path, node, scope, resolver)
    elif isinstance(value, FunctionRef):
        call = _through_function(value, node, scope, resolver)
    elif value is None:
        call = _unknown(node, scope, resolver)
    return call


def _partial(node: ast.Call, scope: Scope, resolver: Resolver) -> QueueCall | None:
    """`partial(task.delay, 1)`: the same as the call that it makes."""
    inner = ast.Call(func=node.args[0], args=node.args[1:], keywords=node.keywords)
    call = queue_call(ast.copy_location(inner, node), scope, resolver)
    if call is None or call.code is FindingCode.CALL_WRAPPER:
        return None
    return QueueCall(
        node, call.code, call.library, call.subject, f"partial({call.method})", call.is_certain,
        call.arguments, call.function, call.options,
    )  # fmt: skip


def _method(value: MethodRef, node: ast.Call) -> QueueCall | None:
    owner, name = value.owner, value.name
    if isinstance(owner, SignatureRef) and name in SIGNATURE_CALLS:
        subject, options = owner.label or written(node.func), tuple(node.keywords)
        return QueueCall(node, FindingCode.CALL, owner.library, subject, name, options=options)
    if not isinstance(owner, TaskRef) or owner.library == MOVED:
        return None
    code: FindingCode | None = None
    if name in ON_COMMIT_CALLS:
        code = FindingCode.COMMIT_METHOD
    elif name in TASK_CALLS.get(owner.library, ()):
        code = FindingCode.CALL_DJANGO if owner.library == TASKS else FindingCode.CALL
    elif name in TASK_SIGNATURES.get(owner.library, ()):
        code = FindingCode.CALL_STEP
    elif name in INLINE and owner.library in {CELERY, HUEY}:
        code = FindingCode.CALL_INLINE
    return None if code is None else _task_call(code, owner, name, node)


def _task_call(code: FindingCode, task: TaskRef, method: str, node: ast.Call) -> QueueCall:
    subject = task.label or written(node.func)
    if method in WITH_LISTS:
        arguments, options = _from_lists(node)
    else:
        arguments, options = _own_arguments(node), ()
    return QueueCall(node, code, task.library, subject, method, True, arguments, None, options)


def _from_lists(node: ast.Call) -> tuple[tuple[ast.expr, ...], tuple[ast.keyword, ...]]:
    """The arguments within `args` and `kwargs`, and the other keywords."""
    lists = [*node.args[:2], keyword(node, "args"), keyword(node, "kwargs")]
    arguments: list[ast.expr] = []
    for part in lists:
        if isinstance(part, ast.Tuple | ast.List):
            arguments += part.elts
        elif isinstance(part, ast.Dict):
            arguments += part.values
    options = [item for item in node.keywords if item.arg not in {None, "args", "kwargs"}]
    return tuple(arguments), tuple(options)


def _own_arguments(node: ast.Call, start: int = 0) -> tuple[ast.expr, ...]:
    by_name = [item.value for item in node.keywords if item.arg is not None]
    return (*node.args[start:], *by_name)


def _foreign(path: str, node: ast.Call, scope: Scope, resolver: Resolver) -> QueueCall | None:
    if path in CANVASES:
        return QueueCall(node, FindingCode.CALL_CANVAS, CANVASES[path], path, written(node.func))
    if path in NAME_CALLS:
        return _by_name(node)
    if path in FUNCTION_CALLS:
        return _of_function(node, FUNCTION_CALLS[path], path)
    top, _, rest = path.partition(".")
    is_other = top in sys.stdlib_module_names or top in {"builtins", "django", "django_bgtasks"}
    return None if is_other or not rest else _unknown(node, scope, resolver)


def _by_name(node: ast.Call, is_certain: bool = True) -> QueueCall:
    first = node.args[0] if node.args else keyword(node, "name")
    text = first.value if isinstance(first, ast.Constant) else written(node.func)
    rest = ast.Call(func=node.func, args=node.args[1:], keywords=node.keywords)
    arguments, options = _from_lists(rest)
    return QueueCall(
        node, FindingCode.CALL_NAME, CELERY, str(text), "send_task", is_certain, arguments, None,
        options,
    )  # fmt: skip


def _of_function(node: ast.Call, place: int, path: str, is_certain: bool = True) -> QueueCall:
    """A call of a function through a queue; what is no option of the queue is the function's."""
    function = keyword(node, "func") or keyword(node, "f")
    start = place
    if function is None and place < len(node.args):
        function, start = node.args[place], place + 1
    library = library_of(path) or RQ
    arguments = list(node.args[start:])
    options: list[ast.keyword] = []
    for item in node.keywords:
        if item.arg in {"args", "kwargs"}:
            arguments += _elements(item.value)
        elif item.arg in FUNCTION_OPTIONS:
            options.append(item)
        elif item.arg is not None and item.arg not in {"func", "f"}:
            arguments.append(item.value)
    subject = written(function) if function is not None else path
    return QueueCall(
        node, FindingCode.CALL_FUNCTION, library, subject, path.rpartition(".")[2], is_certain,
        tuple(arguments), function, tuple(options),
    )  # fmt: skip


def _elements(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.Tuple | ast.List):
        return node.elts
    return node.values if isinstance(node, ast.Dict) else []


# The keywords that RQ, rq-scheduler and django-q2 take for themselves.
FUNCTION_OPTIONS = frozenset({
    "ack_failure", "at_front", "broker", "cached", "cluster", "cron_string", "depends_on",
    "description", "failure_ttl", "group", "group_result_ttl", "hook", "id", "interval", "job_id",
    "job_timeout", "meta", "minutes", "name", "next_run", "on_failure", "on_stopped", "on_success",
    "pipeline", "q_options", "queue", "queue_name", "repeat", "repeats", "result_ttl", "retry",
    "save", "schedule_type", "scheduled_time", "sync", "task_name", "timeout", "ttl",
    "use_local_timezone",
})  # fmt: skip


def _unknown(node: ast.Call, scope: Scope, resolver: Resolver) -> QueueCall | None:
    """A method with a name that only these libraries have, on something unknown."""
    if not isinstance(node.func, ast.Attribute):
        return None
    name, uses = node.func.attr, resolver.project.libraries
    if DISTINCT.get(name, frozenset()).isdisjoint(uses):
        return None
    owner = resolver.value(node.func.value, scope)
    if isinstance(owner, ClassRef | InstanceRef):
        cls = owner if isinstance(owner, ClassRef) else owner.cls
        if resolver.has_attribute(cls, name) is not None:
            return None
    if name == "send_task":
        return _by_name(node, is_certain=False)
    if name in FUNCTION_METHODS:
        return _of_function(node, FUNCTION_METHODS[name], f"?.{name}", is_certain=False)
    arguments, options = _own_arguments(node), tuple[ast.keyword, ...]()
    if name in WITH_LISTS:
        arguments, options = _from_lists(node)
    code = FindingCode.COMMIT_METHOD if name in ON_COMMIT_CALLS else FindingCode.CALL
    library = next(iter(DISTINCT[name] & uses))
    subject = written(node.func.value)
    return QueueCall(node, code, library, subject, name, False, arguments, None, options)


# Functions of the project that enqueue what they are given


def _through_function(
    function: FunctionRef, node: ast.Call, scope: Scope, resolver: Resolver
) -> QueueCall | None:
    name = forwarded_parameter(function, resolver)
    if not name:
        return None
    target = given_to(function, name, node, scope, resolver)
    subject = written(target) if target is not None else written(node.func)
    arguments = _passed_on(function, target, node)
    return QueueCall(
        node, FindingCode.CALL_WRAPPER, "", subject, function.label, True, arguments, target, ()
    )


def _passed_on(
    function: FunctionRef, target: ast.expr | None, node: ast.Call
) -> tuple[ast.expr, ...]:
    """What a wrapper takes as `*args` and `**kwargs`, and so gives to the task, it seems."""
    own = function.node.args
    names = {argument.arg for argument in [*own.posonlyargs, *own.args, *own.kwonlyargs]}
    place = len(own.posonlyargs) + len(own.args)
    is_method = function.owner is not None and isinstance(node.func, ast.Attribute)
    by_place = node.args[max(0, place - is_method) :] if own.vararg else []
    by_name = [item.value for item in node.keywords if item.arg and item.arg not in names]
    return tuple(each for each in [*by_place, *by_name] if each is not target)


def forwarded_parameter(function: FunctionRef, resolver: Resolver, depth: int = 0) -> str:
    """The parameter whose value this function enqueues; empty if it does not."""
    known = resolver.forwarded
    key = id(function.node)
    if key not in known and depth < WRAPPER_DEPTH:
        known[key] = ""
        known[key] = _forwarded(function, resolver, depth)
    return known.get(key, "")


def _forwarded(function: FunctionRef, resolver: Resolver, depth: int) -> str:
    outer = resolver.project.scope_within(function.node).parent
    if outer is None:
        return ""
    for site in sites_within(function.node, outer):
        if not isinstance(site.node, ast.Call):
            continue
        target = _enqueued(site.node, site.scope, resolver, depth)
        name = _root_parameter(target, site.scope, function, resolver) if target else ""
        if name:
            return name
    return ""


def _enqueued(node: ast.Call, scope: Scope, resolver: Resolver, depth: int) -> ast.expr | None:
    """What a call within a function enqueues: a function, or that which has the method."""
    value = resolver.value(node.func, scope)
    if isinstance(value, FunctionRef):
        name = forwarded_parameter(value, resolver, depth + 1)
        return given_to(value, name, node, scope, resolver) if name else None
    call = queue_call(node, scope, resolver)
    if call is None:
        return None
    if call.function is not None:
        return call.function
    # `task.delay()` of a task that is a parameter itself, and not `self.task.delay()`.
    owner = node.func.value if isinstance(node.func, ast.Attribute) else None
    return owner if isinstance(owner, ast.Name) and not call.is_certain else None


def _root_parameter(node: ast.expr, scope: Scope, function: FunctionRef, resolver: Resolver) -> str:
    """The parameter of the function from which this expression comes."""
    while isinstance(node, ast.Attribute):
        node = node.value
    if isinstance(node, ast.IfExp):
        parts = (node.body, node.orelse)
        names = (_root_parameter(part, scope, function, resolver) for part in parts)
        return next(filter(None, names), "")
    if isinstance(node, ast.Call):
        path = resolver.path(node.func, scope)
        if path == "builtins.super":
            arguments = [*function.node.args.posonlyargs, *function.node.args.args]
            return arguments[0].arg if arguments else ""
        is_cast = path == "typing.cast" and len(node.args) == 2
        return _root_parameter(node.args[1], scope, function, resolver) if is_cast else ""
    bindings = scope.lookup(node.id) if isinstance(node, ast.Name) else []
    for binding in bindings:
        if isinstance(binding, ParameterBinding) and binding.function is function.node:
            return binding.argument.arg
    return ""


def given_to(
    function: FunctionRef, name: str, node: ast.Call, scope: Scope, resolver: Resolver
) -> ast.expr | None:
    """What this call gives to a parameter; of `self` and `cls` that on which it is called."""
    by_name = keyword(node, name)
    if by_name is not None:
        return by_name
    arguments = [*function.node.args.posonlyargs, *function.node.args.args]
    places = [argument.arg for argument in arguments]
    if name not in places:
        return None
    place = places.index(name)
    if function.owner is not None and not _is_static(function, resolver):
        if place == 0:
            return node.func.value if isinstance(node.func, ast.Attribute) else None
        place -= 1
    return node.args[place] if place < len(node.args) else None


def _is_static(function: FunctionRef, resolver: Resolver) -> bool:
    outer = resolver.project.scope_within(function.node).parent
    decorators = function.node.decorator_list
    return any(
        resolver.path(each, outer) == "builtins.staticmethod" for each in decorators if outer
    )
