"""Which queue and priority a task has: `CELERY_TASK_ROUTES`, and what the call says."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from django.utils.module_loading import import_string

from .conf import configured

Router = Mapping[Any, Any] | Callable[..., Any] | str


def placed(task: Any, options: Mapping[str, Any]) -> tuple[str | None, Any]:
    """The queue and the priority of a call of a task; None where nobody says it.

    What the call says comes first, then what the task does, then the routes.
    """
    queue, priority = options.get("queue"), options.get("priority")
    queue = task.queue if queue is None else queue
    priority = task.priority if priority is None else priority
    if queue is None or priority is None:
        route = route_of(task.name, options)
        queue = route.get("queue") if queue is None else queue
        priority = route.get("priority") if priority is None else priority
    return None if queue is None else str(getattr(queue, "name", queue)), priority


def route_of(name: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the first router says that knows this task."""
    routers = configured("task_routes") or ()
    for router in routers if isinstance(routers, list | tuple) else [routers]:
        route = _route_by(router, name, options)
        if route is not None:
            return {"queue": route} if isinstance(route, str) else route
    return {}


def _route_by(router: Any, name: str, options: Mapping[str, Any]) -> Any:
    if isinstance(router, str):
        router = import_string(router)
    if isinstance(router, type):
        router = router()
    if hasattr(router, "route_for_task"):
        return router.route_for_task(name, (), {})
    if callable(router):
        return router(name, (), {}, dict(options), task=None)
    pairs = router.items() if isinstance(router, Mapping) else router
    for pattern, route in pairs:
        is_match = (
            pattern.match(name) if isinstance(pattern, re.Pattern) else fnmatchcase(name, pattern)
        )
        if is_match:
            return route
    return None
