"""The settings of a backend: `TASKS[backend]["OPTIONS"]`, read once into one frozen object."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from functools import cache
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from .compat import DEFAULT_TASK_QUEUE_NAME

IMPLICIT_BACKEND = "bgtasks"
BACKEND_PATH = "django_bgtasks.backend.RQBackend"
MAX_SECONDS = 10**7
SHORTEST_TOKEN = 20
TYPES = ("json", "django")
MAX_DAYS = 36_500
# Who runs a task, in ROUTES.
RUN_BY = ("bgtasks", "celery")
WORKERS, INLINE = MODES = ("workers", "inline")
IMPLICIT = {"BACKEND": BACKEND_PATH, "QUEUES": [], "OPTIONS": {}}


@dataclass(frozen=True, slots=True)
class Options:
    """What OPTIONS may hold, with the defaults. Durations are in seconds unless they say days."""

    cache: str | None = None  # a django-redis cache; by default "bgtasks", or the first one
    # Used when there is no django-redis cache; "": not named here. None: do without Redis.
    redis_url: str | None = ""
    max_depth: int | Mapping[str, int] | None = None  # waiting jobs per queue; more are refused
    timeout: float = 300.0  # of a task that names none
    kill_after: float = 2.0  # from the timeout in the task to the kill
    grace: float = 25.0  # from SIGTERM to the release of what still runs
    group_budget: float = 0.02  # how long a group of short jobs may take in a process
    beat_every: float = 3.0
    dead_after: float = 10.0
    keep_succeeded_days: float = 7.0
    keep_failed_days: float = 90.0
    keep_cancelled_days: float = 7.0
    mode: str = WORKERS  # "inline": the process that enqueues a job runs it
    modules: Sequence[str] = ()  # of apps, beside `tasks`, in which tasks are
    middleware: Sequence[str] = ()  # paths of classes, the outermost first
    carry: Sequence[str] = ()  # paths of Carried objects, in the order in which they are restored
    log: bool = False  # whether the lines that tasks log are kept for their jobs' pages
    types: str = "json"  # of arguments and results: "json", or "django"; see docs/types.md
    monitoring_token: str | None = None  # opens healthz, readyz and metrics; None: they are off

    @property
    def is_inline(self) -> bool:
        """Whether the process that enqueues a job runs it, after its commit."""
        return self.mode == INLINE

    def depth_of(self, queue: str) -> int | None:
        """How many jobs may wait in this queue; None for any number."""
        if isinstance(self.max_depth, Mapping):
            return self.max_depth.get(queue)
        return self.max_depth

    def retention(self) -> dict[str, timedelta]:
        """For each final state, how long its jobs are kept."""
        return {
            "succeeded": timedelta(days=self.keep_succeeded_days),
            "failed": timedelta(days=self.keep_failed_days),
            "cancelled": timedelta(days=self.keep_cancelled_days),
        }


@dataclass(frozen=True, slots=True)
class BackendSettings:
    """One of our entries in TASKS. Empty `queues` means: those that tasks declare."""

    backend: str
    queues: frozenset[str]
    options: Options
    unknown: tuple[str, ...] = field(default=())
    # Where some tasks go on with Celery: patterns of names, each with who runs them.
    routes: Mapping[str, str] | None = None


def entries() -> dict[str, Mapping[str, Any]]:
    """The TASKS entries that use our backend; the implicit one when there is none."""
    found = {
        backend: entry
        for backend, entry in (getattr(settings, "TASKS", None) or {}).items()
        if _is_ours(entry.get("BACKEND", ""))
    }
    return found or {IMPLICIT_BACKEND: IMPLICIT}


def default_backend() -> str:
    """The backend of a task that names none: "default" if it is ours, else our first."""
    backends = entries()
    return "default" if "default" in backends else next(iter(backends))


@cache
def stored_backends(backend: str) -> tuple[str, ...]:
    """The aliases that the rows of this backend's jobs hold: its own, and, for the default one,
    the implicit backend of the time before TASKS named a backend of ours.
    """
    if backend == default_backend() and IMPLICIT_BACKEND not in entries():
        return backend, IMPLICIT_BACKEND
    return (backend,)


@cache
def known_backends() -> tuple[str, ...]:
    """The aliases in rows that are of any backend of this site."""
    return tuple(stored for backend in entries() for stored in stored_backends(backend))


@cache
def backend_of(stored: str) -> str | None:
    """The backend to which a job with this backend in its row belongs; None if TASKS has none."""
    return next((backend for backend in entries() if stored in stored_backends(backend)), None)


@cache
def backend_class(stored: str) -> Any:
    """The class of the backend to which a job with this backend in its row belongs."""
    return import_string(entries()[backend_of(stored) or default_backend()]["BACKEND"])


@cache
def backend_settings(backend: str) -> BackendSettings:
    """The entry of this backend; ImproperlyConfigured if it is none of ours or has wrong values."""
    found = entries()
    if backend not in found:
        raise ImproperlyConfigured(
            f"TASKS has no entry {backend!r} with the backend {BACKEND_PATH}. "
            f"Its entries with that backend are: {', '.join(found)}."
        )
    return read(backend, found[backend])


@cache
def keeps_logs(stored: str) -> bool:
    """Whether the backend to which a job with this backend in its row belongs keeps its log."""
    home = backend_of(stored)
    return home is not None and backend_settings(home).options.log


def read(backend: str, entry: Mapping[str, Any]) -> BackendSettings:
    """Parse one entry; options that do not exist are kept apart for the system check."""
    values = dict(entry.get("OPTIONS") or {})
    known = {option.name for option in fields(Options)}
    unknown = tuple(sorted(set(values) - known))
    options = Options(**{name: values[name] for name in values if name in known})
    _check(backend, options)
    if options.is_inline:
        # A message would bring a worker to what this process is about to run.
        options = replace(options, redis_url=None)
    queues = frozenset(entry.get("QUEUES", [DEFAULT_TASK_QUEUE_NAME]))
    return BackendSettings(backend, queues, options, unknown, _routes_of(backend, entry))


def _routes_of(backend: str, entry: Mapping[str, Any]) -> Mapping[str, str] | None:
    """ROUTES of an entry, checked; None without them."""
    routes = entry.get("ROUTES")
    if routes is None:
        return None
    if not isinstance(routes, Mapping) or not all(isinstance(name, str) for name in routes):
        raise ImproperlyConfigured(
            f"TASKS[{backend!r}]['ROUTES'] takes patterns of names of tasks, such as "
            f'{{"shop.*": "bgtasks"}}, not {routes!r}.'
        )
    for pattern, runs in routes.items():
        if runs not in RUN_BY:
            raise ImproperlyConfigured(
                f"TASKS[{backend!r}]['ROUTES'][{pattern!r}] is {' or '.join(map(repr, RUN_BY))}, "
                f"not {runs!r}."
            )
    return dict(routes)


def suggestion(name: str) -> str:
    """The known option that looks most like `name`, or all of them."""
    known = [option.name for option in fields(Options)]
    close = difflib.get_close_matches(name, known, n=1)
    return f"Did you mean {close[0]!r}?" if close else f"Known options: {', '.join(known)}."


def _check(backend: str, options: Options) -> None:
    for name in ("timeout", "kill_after", "grace", "group_budget", "beat_every", "dead_after"):
        value = getattr(options, name)
        if not _is_number(value) or not 0 < value <= MAX_SECONDS:
            raise _wrong(backend, name, value, "a number of seconds above 0")
    for name in ("keep_succeeded_days", "keep_failed_days", "keep_cancelled_days"):
        value = getattr(options, name)
        if not _is_number(value) or not 0 <= value <= MAX_DAYS:
            raise _wrong(backend, name, value, f"a number of days, at most {MAX_DAYS}")
    if options.redis_url is not None and not isinstance(options.redis_url, str):
        # It may hold a password.
        raise _wrong(
            backend, "redis_url", type(options.redis_url), "a string, or None for no Redis"
        )
    token = options.monitoring_token
    if token is not None and not isinstance(token, str):
        # Its value would be a secret in a message.
        raise _wrong(backend, "monitoring_token", type(token), "a string")
    depths = options.max_depth
    for depth in depths.values() if isinstance(depths, Mapping) else (depths,):
        if depth is not None and (type(depth) is not int or depth < 0):
            raise _wrong(backend, "max_depth", depths, "a whole number, or one for each queue")
    for name, example in (("middleware", "shop.bg.Timing"), ("carry", "shop.bg.tenant")):
        paths = getattr(options, name)
        if not isinstance(paths, tuple | list) or not all(isinstance(path, str) for path in paths):
            raise _wrong(backend, name, paths, f"a list of paths, such as {example!r}")
    modules = options.modules
    if not isinstance(modules, tuple | list) or not all(map(_is_module, modules)):
        raise _wrong(backend, "modules", modules, "a list of names of modules, such as 'handlers'")
    _check_choices(backend, options)
    if options.dead_after < 2 * options.beat_every:
        raise ImproperlyConfigured(
            f"TASKS[{backend!r}]['OPTIONS']: dead_after ({options.dead_after} s) must be at least "
            f"twice beat_every ({options.beat_every} s), or live workers would be called dead."
        )


def _check_choices(backend: str, options: Options) -> None:
    if options.mode not in MODES:
        raise _wrong(backend, "mode", options.mode, " or ".join(map(repr, MODES)))
    if type(options.log) is not bool:
        raise _wrong(backend, "log", options.log, "True or False")
    if options.types not in TYPES:
        raise _wrong(backend, "types", options.types, "'json' or 'django'")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_module(name: Any) -> bool:
    return isinstance(name, str) and all(part.isidentifier() for part in name.split("."))


def _wrong(backend: str, name: str, value: Any, what: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(
        f"TASKS[{backend!r}]['OPTIONS'][{name!r}] must be {what}, not {value!r}."
    )


def _is_ours(path: str) -> bool:
    if path == BACKEND_PATH:
        return True
    if not path or path.startswith(("django.tasks.", "django_tasks.")):
        return False
    try:
        backend = import_string(path)
    except Exception:
        # A module may raise anything. Django's own check says what.
        return False
    return any(f"{cls.__module__}.{cls.__qualname__}" == BACKEND_PATH for cls in backend.__mro__)


# What is cached of the settings: here, and by who has added to it.
CACHED: list[Any] = [
    stored_backends,
    known_backends,
    backend_of,
    backend_class,
    backend_settings,
    keeps_logs,
]


def _forget(*, setting: str, **kwargs: Any) -> None:
    if setting in ("TASKS", "CACHES", "DEBUG"):
        for cached in CACHED:
            cached.cache_clear()


setting_changed.connect(_forget, dispatch_uid="django_bgtasks.options")
