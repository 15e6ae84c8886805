"""Celery's settings, as far as they say something here: `CELERY_…` in Django's settings, or what
begins with the namespace of the app.

What `app.conf` is given in code comes first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings

# What app.conf was given, by the names of Celery 4 and later.
OVERRIDES: dict[str, Any] = {}
# How the settings of Celery begin among those of Django.
DEFAULT_NAMESPACE = "CELERY"
# What the apps have said of that; the last one counts.
NAMESPACES: list[str] = []
# The names of before Celery 4.
FORMER = {
    "task_always_eager": ("CELERY_ALWAYS_EAGER",),
    "task_eager_propagates": (
        "CELERY_EAGER_PROPAGATES_EXCEPTIONS",
        "CELERY_EAGER_PROPAGATES",
    ),
    "beat_schedule": ("CELERYBEAT_SCHEDULE",),
    "task_routes": ("CELERY_ROUTES",),
    "task_default_queue": ("CELERY_DEFAULT_QUEUE",),
    "task_time_limit": ("CELERYD_TASK_TIME_LIMIT",),
    "task_soft_time_limit": ("CELERYD_TASK_SOFT_TIME_LIMIT",),
    "broker_url": ("BROKER_URL",),
}


def configured(name: str, default: Any = None) -> Any:
    """The value of a setting of Celery, such as "task_always_eager"; read anew each time.

    Where Django's settings are not there yet, only what app.conf was given counts.
    """
    if name in OVERRIDES:
        return OVERRIDES[name]
    if not settings.configured:
        return default
    former = FORMER.get(name, ()) if namespace() == DEFAULT_NAMESPACE else ()
    for key in (f"{namespace()}_{name.upper()}", *former):
        if hasattr(settings, key):
            return getattr(settings, key)
    return default


def namespace() -> str:
    """How the names of Celery's settings begin in those of Django."""
    return NAMESPACES[-1] if NAMESPACES else DEFAULT_NAMESPACE


def use_namespace(name: str) -> None:
    """Let the settings of Celery begin with this name, in the settings of Django."""
    NAMESPACES.append(name.rstrip("_"))
    tell_change("beat_schedule")


def tell_change(name: str) -> None:
    """Let those know who work by this setting."""
    for act in CHANGED:
        act(name)


def current_name(name: str) -> str:
    """The name of a setting, which may have its prefix, or be one of before Celery 4."""
    former = (now for now, names in FORMER.items() if name in names)
    if name.isupper():
        return next(former, None) or name.removeprefix(f"{namespace()}_").lower()
    return name


class Configuration:
    """What `app.conf` is: attributes and items are settings of Celery."""

    def __getattr__(self, name: str) -> Any:
        return configured(current_name(name))

    def __setattr__(self, name: str, value: Any) -> None:
        name = current_name(name)
        OVERRIDES[name] = value
        tell_change(name)

    def __delattr__(self, name: str) -> None:
        OVERRIDES.pop(current_name(name), None)

    __getitem__ = __getattr__
    __setitem__ = __setattr__

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a setting."""
        return configured(current_name(name), default)

    def update(self, values: Mapping[str, Any] | None = None, **more: Any) -> None:
        """Set several."""
        for name, value in {**(values or {}), **more}.items():
            setattr(self, name, value)


# Called with the name of a setting that app.conf was given.
CHANGED: list[Any] = []
