"""Both at once: ROUTES of TASKS say which tasks are ours already; the others go on with Celery.

Only here is celery itself imported, and only where ROUTES are set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from functools import cache
from importlib import import_module
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from ...core.errors import JobTimeout
from ...core.options import backend_settings, default_backend
from .errors import CeleryRetry, Ignore, Reject, refuse_call

MISSING = (
    "ROUTES of TASKS say that some tasks go on with Celery, and celery is not installed here. "
    "Install it, or take ROUTES away: then all tasks are run by django_bgtasks."
)


def routes() -> Mapping[str, str] | None:
    """The patterns of names of tasks, each with who runs them; None where all are ours."""
    if not settings.configured:
        return None
    return backend_settings(default_backend()).routes


def is_mixed() -> bool:
    """Whether some tasks go on with Celery."""
    return routes() is not None


def is_moved(name: str) -> bool:
    """Whether the calls of the task with this name are jobs of ours: the first match counts."""
    patterns = routes()
    if patterns is None:
        return True
    found = (runs for pattern, runs in patterns.items() if fnmatchcase(name, pattern))
    return next(found, "celery") == "bgtasks"


@cache
def celery_module(name: str = "celery") -> Any:
    """A module of Celery itself. Raises ImproperlyConfigured where it is not installed."""
    try:
        return import_module(name)
    except ImportError as error:
        raise ImproperlyConfigured(MISSING) from error


def celery_name(module: str, name: str, own: Any) -> Any:
    """What modules get under a name of Celery: its own object where both are at work."""
    return getattr(celery_module(module), name) if is_mixed() else own


def original_task(function: Callable[..., Any], options: Mapping[str, Any]) -> Any:
    """The task of Celery for a function, by which a worker of Celery finds it."""
    return celery_module().shared_task(**options)(function)


def as_original(signature: Any) -> Any:
    """A signature as one of Celery's."""
    return celery_module("celery.canvas").Signature.from_dict(signature)


def shared_base(base: type, own: type) -> tuple[type, ...]:
    """The bases of a task whose base class is Celery's: its methods, then ours, then Celery's."""
    if issubclass(base, own):
        return (base,)
    return (base, _with_both(own))


@cache
def _with_both(own: type) -> type:
    return type(own.__name__, (own, celery_module().Task), {})


@cache
def retry_class() -> type[CeleryRetry]:
    """The class of what self.retry() raises: where both are at work it is one of Celery's too."""
    if not is_mixed():
        return CeleryRetry
    bases = (CeleryRetry, celery_module("celery.exceptions").Retry)
    both: type[CeleryRetry] = type("Retry", bases, {})
    return both


@cache
def timeout_class() -> type[JobTimeout]:
    """What a soft limit raises where both are at work."""
    celery_errors = celery_module("celery.exceptions").SoftTimeLimitExceeded
    both: type[JobTimeout] = type("SoftTimeLimitExceeded", (JobTimeout, celery_errors), {})
    return both


def translated(error: BaseException) -> BaseException:
    """What our worker understands, of an exception by which a task tells Celery how to go on."""
    if not is_mixed() or isinstance(error, CeleryRetry | Ignore | Reject):
        return error
    celery_errors = celery_module("celery.exceptions")
    if isinstance(error, celery_errors.Ignore):
        return Ignore(*error.args)
    if isinstance(error, celery_errors.Reject):
        return Reject(error.reason, requeue=bool(error.requeue))
    if isinstance(error, celery_errors.Retry):
        return CeleryRetry(error.message, error.exc, error.when)
    return error


def refuse_both(names: Mapping[str, bool]) -> None:
    """Refuse a workflow of which some tasks are run here and others by Celery."""
    if len(set(names.values())) > 1:
        here = sorted(name for name, moved in names.items() if moved)
        there = sorted(name for name, moved in names.items() if not moved)
        raise refuse_call(
            "ROUTES",
            f"{', '.join(here)} run here and {', '.join(there)} with Celery: a chain, group or "
            f"chord is run by one of the two. Move them together.",
        )
