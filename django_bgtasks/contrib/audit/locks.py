"""Locks that a project makes by hand, with a cache, Redis, a library or a row."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .findings import AuditFinding, FindingCode
from .nodes import decorator_of, is_true, keyword
from .resolver import Resolver
from .scopes import Scope
from .sites import Site, finding_at, sites_within, task_around, written
from .values import ClassRef, FunctionRef, MethodRef, RowsRef

CACHE_ADD = frozenset({"django.core.cache.cache.add", "django.core.cache.cache.aadd"})
REDIS_LOCKS = frozenset({
    "django.core.cache.cache.lock", "pottery.Redlock", "redis.Redis().lock", "redis.Redis().setnx",
    "redis.lock.Lock", "redis_lock.Lock", "redis_lock.django_cache.RedisCache().lock",
    "rq.Worker().lock",
})  # fmt: skip
REDIS_SET = frozenset({"redis.Redis().set", "django.core.cache.cache.set"})
LIBRARY_LOCKS = frozenset({
    "celery_once.QueueOnce", "celery_singleton.Singleton", "cacheops.RedisLock",
    "dramatiq.rate_limits.BucketRateLimiter", "dramatiq.rate_limits.WindowRateLimiter",
    "dramatiq.rate_limits.ConcurrentRateLimiter", "django_pglocks.advisory_lock",
    "django_pglock.advisory", "dj_pglock.advisory", "fasteners.InterProcessLock", "fcntl.flock",
    "filelock.FileLock", "filelock.SoftFileLock", "filelock.UnixFileLock",
    "huey.Huey().lock_task", "huey.Huey().is_locked", "pglock.advisory", "pglock.model",
    "portalocker.Lock", "select_for_update_lock.lock",
})  # fmt: skip
LOCK_BASES = frozenset({"celery_once.QueueOnce", "celery_singleton.Singleton"})
FOR_UPDATE = "select_for_update"
CONTEXT_MANAGERS = frozenset({"contextlib.asynccontextmanager", "contextlib.contextmanager"})


def find_locks(site: Site, resolver: Resolver) -> Iterator[AuditFinding]:
    """Locks, and the use of functions of the project that lock."""
    node = site.node
    if isinstance(node, ast.Call):
        code = _lock_code(node, site.scope, resolver)
        if code is FindingCode.LOCK_CACHE:
            # `add` also fills a cache: within a task, or in what is called a lock, it is one.
            is_lock = task_around(site, resolver) is not None or _in_wrapper(site, resolver)
            yield finding_at(site, code, written(node.func), _enclosing(site, resolver), is_lock)
        elif code is not None:
            yield finding_at(site, code, written(node.func), _enclosing(site, resolver))
        yield from _row(site, node, resolver)
        yield from _used(site, node, resolver)
    elif isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Load):
        # Named as a base class, or as `base=QueueOnce`.
        is_base = resolver.path(node, site.scope) in LOCK_BASES
        if is_base and not _is_called(site):
            yield finding_at(site, FindingCode.LOCK_LIBRARY, written(node))


def _is_called(site: Site) -> bool:
    parent = site.parent.node if site.parent else None
    return isinstance(parent, ast.Call) and parent.func is site.node


def _enclosing(site: Site, resolver: Resolver) -> str:
    task = task_around(site, resolver)
    return f"in {task.label}" if task else ""


def _lock_code(node: ast.Call, scope: Scope, resolver: Resolver) -> FindingCode | None:
    path = resolver.path(node.func, scope)
    if path in CACHE_ADD:
        return FindingCode.LOCK_CACHE
    if path in REDIS_LOCKS or (path in REDIS_SET and is_true(keyword(node, "nx"))):
        return FindingCode.LOCK_REDIS
    return FindingCode.LOCK_LIBRARY if path in LIBRARY_LOCKS else None


def _row(site: Site, node: ast.Call, resolver: Resolver) -> Iterator[AuditFinding]:
    """`select_for_update` in a task: it may be that the row is only a lock."""
    method = resolver.value(node.func, site.scope)
    if isinstance(method, MethodRef) and isinstance(method.owner, RowsRef):
        task = task_around(site, resolver) if method.name == FOR_UPDATE else None
        if task is not None:
            model = method.owner.model
            subject = model.label if isinstance(model, ClassRef) else model.path
            yield finding_at(site, FindingCode.LOCK_ROW, subject, f"in {task.label}", False)


def _used(site: Site, node: ast.Call, resolver: Resolver) -> Iterator[AuditFinding]:
    """A function or a class of the project that locks, used in `with` or as a decorator."""
    parent = site.parent.node if site.parent else None
    is_context = isinstance(parent, ast.withitem) and parent.context_expr is node
    is_decorator = (
        isinstance(parent, ast.FunctionDef | ast.AsyncFunctionDef) and node in parent.decorator_list
    )
    if not is_context and not is_decorator:
        return
    value = resolver.value(node.func, site.scope)
    if isinstance(value, FunctionRef) and is_locking(value, resolver):
        note = _enclosing(site, resolver)
        if is_decorator and isinstance(parent, ast.FunctionDef):
            note = f"on {parent.name}"
        yield finding_at(site, FindingCode.LOCK_WRAPPER, value.label, note)


def _in_wrapper(site: Site, resolver: Resolver) -> bool:
    """Whether the function around is a context manager."""
    for outer in site.around():
        if isinstance(outer.node, ast.FunctionDef | ast.AsyncFunctionDef):
            decorators = [decorator_of(each) for each in outer.node.decorator_list]
            paths = {resolver.path(each, outer.scope) for each in decorators}
            return not CONTEXT_MANAGERS.isdisjoint(paths)
    return False


def is_locking(function: FunctionRef, resolver: Resolver) -> bool:
    """Whether a function of the project takes a lock in its own code."""
    known, key = resolver.locking, id(function.node)
    if key not in known:
        scope = resolver.project.scope_within(function.node).parent
        known[key] = scope is not None and any(
            isinstance(site.node, ast.Call) and _lock_code(site.node, site.scope, resolver)
            for site in sites_within(function.node, scope)
        )
    return known[key]
