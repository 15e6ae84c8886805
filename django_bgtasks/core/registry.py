"""Which queues tasks declare, which backend a name means, and which task a path names."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from django.utils.module_loading import import_string

from .compat import DEFAULT_TASK_QUEUE_NAME, Task, handlers, task_backends
from .errors import TaskNotFound
from .options import IMPLICIT, IMPLICIT_BACKEND, backend_settings
from .outcomes import message_of

if TYPE_CHECKING:
    from ..backend import RQBackend

_declared: defaultdict[str, set[str]] = defaultdict(lambda: {DEFAULT_TASK_QUEUE_NAME})


def declare_queue(backend: str, queue: str) -> None:
    """A task of this backend names this queue."""
    _declared[backend].add(queue)


def queues_of(backend: str) -> frozenset[str]:
    """The queues of a backend: its QUEUES, or those that tasks declare when it names none."""
    return backend_settings(backend).queues or frozenset(_declared[backend])


def ensure_backend(name: str) -> RQBackend:
    """The backend of this name; makes the implicit one known where TASKS does not name it.

    Each handler gets a copy of its settings, so that the site's TASKS stays as it is.
    """
    if name == IMPLICIT_BACKEND:
        for handler in handlers():
            if name not in handler.settings:
                handler.settings = {**handler.settings, name: IMPLICIT}
    backend: RQBackend = task_backends[name]  # type: ignore[assignment]
    return backend


def find_task(path: str) -> Any:
    """The task at this dotted path; TaskNotFound when there is none on this host."""
    try:
        task = import_string(path)
    except (Exception, SystemExit) as error:
        why = message_of(error)
        raise TaskNotFound.of("task_not_imported", task=path, why=why) from error
    if not isinstance(task, Task):
        raise TaskNotFound.of("not_a_task", task=path)
    return task
