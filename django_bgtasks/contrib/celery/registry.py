"""The tasks of this process by the names that Celery knows them by."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

from ...jobs.discovery import try_to_discover
from .errors import NotRegistered

# The tasks of Celery itself that map() and starmap() use.
BUILT_IN = ("celery.map", "celery.starmap")
# The app, if there is one.
APPS: list[Any] = []


class TaskRegistry(dict[str, Any]):
    """`app.tasks`: a task by its name. What is not imported yet is looked for."""

    def __missing__(self, name: str) -> Any:
        if name in BUILT_IN:
            import_module(f"{__package__}.built_in")
        else:
            try_to_discover()
        if name in self:
            return dict.__getitem__(self, name)
        raise NotRegistered(name)

    def register(self, task: Any) -> Any:
        """Add a task under its name."""
        self[task.name] = task
        return task

    def unregister(self, name: Any) -> None:
        """Take a task away."""
        self.pop(getattr(name, "name", name), None)

    def has(self, name: Any) -> bool:
        """Whether a task has this name, in one of the modules with tasks."""
        if name not in self:
            try_to_discover()
        return name in self

    def by_path(self, path: str) -> Any:
        """The task whose jobs have this path; None if there is none here."""
        return next((task for task in self._all() if task.path == path), None)

    def _all(self) -> Iterator[Any]:
        try_to_discover()
        yield from list(self.values())


TASKS = TaskRegistry()


def task_named(name: Any) -> Any:
    """The task of this name, or the task itself. Raises NotRegistered."""
    return TASKS[name] if isinstance(name, str) else name


def load_task(name: str, module: str) -> Any:
    """The task of this name, which this module has: what a pickled task is. Raises NotRegistered,
    and what the import of the module raises.
    """
    if name not in TASKS:
        import_module(module)
    return TASKS[name]
