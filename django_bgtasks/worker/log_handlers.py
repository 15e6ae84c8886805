"""The site's log handlers, which a fork takes along without their threads, and os._exit() forgets.

A QueueListener is a thread, which a forked process does not have: its lines would wait for ever. A
MemoryHandler's lines would come once from each process, or, at its end, not at all.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import suppress
from logging.handlers import BufferingHandler, QueueHandler, QueueListener
from typing import Any

from ..core import clock
from .streams import flush_streams

OF_ONE_PROCESS = (queue.Queue, queue.SimpleQueue)
DRAIN_SECONDS = 1.0
_listeners: list[QueueListener] = []
_handlers: list[logging.Handler] = []


def find_handlers() -> None:
    """For a process that is about to fork: note what there is. A listener by hand is found too."""
    _listeners.clear()
    _handlers.clear()
    for thing in _all_of_logging():
        if issubclass(type(thing), QueueListener):
            _listeners.append(thing)
        elif issubclass(type(thing), QueueHandler | BufferingHandler):
            _handlers.append(thing)
    for listener in _listeners:
        if _is_attached(listener) and not _runs(listener):
            # As dictConfig makes it. Whoever starts it in a web server does not in a worker.
            listener.start()


def _all_of_logging() -> Iterator[Any]:
    """Each handler and listener: those that loggers and running threads have, and what is in them.

    dictConfig() empties logging's own list, but handlers of before may still be in use.
    """
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    todo = [ref() for ref in logging._handlerList]  # type: ignore[attr-defined]
    todo += [handler for logger in loggers for handler in getattr(logger, "handlers", ())]
    todo += [_owner_of(thread) for thread in threading.enumerate()]
    seen: set[int] = set()
    while todo:
        thing = todo.pop()
        # By type(): a lazy object would be made real by isinstance().
        if issubclass(type(thing), logging.Handler | QueueListener) and id(thing) not in seen:
            seen.add(id(thing))
            yield thing
            for inner in vars(thing).values():
                todo += inner if type(inner) in (list, tuple) else [inner]


def _owner_of(thread: threading.Thread) -> Any:
    """Whose method a thread runs."""
    return getattr(getattr(thread, "_target", None), "__self__", None)


def restart_in_fork() -> None:
    """In a new process, after the fork: new threads and queues of listeners, empty buffers."""
    fresh: dict[int, Any] = {}
    for listener in _listeners:
        if not isinstance(listener.queue, OF_ONE_PROCESS) or listener._thread is None:
            # The lines of a queue between processes go to the listener that the parent has.
            continue
        # A new one: who waited for the old one, perhaps with its lock, is not here any more.
        listener.queue = fresh.setdefault(id(listener.queue), _like(listener.queue))
        listener._thread = None
        listener.start()
    for handler in _handlers:
        if isinstance(handler, BufferingHandler):
            # The parent has these lines too.
            handler.buffer.clear()
        elif isinstance(handler, QueueHandler):
            handler.queue = fresh.get(id(handler.queue), handler.queue)


def flush() -> None:
    """Write what is held back and would be written at the end. It may run in a signal handler."""
    for handler in _handlers:
        if getattr(handler, "flushOnClose", True):
            with suppress(Exception):
                handler.flush()
    flush_streams()


def close() -> None:
    """At the end of a process: write what is still held back."""
    for listener in _listeners:
        if _runs(listener) and isinstance(listener.queue, OF_ONE_PROCESS):
            listener.stop()
    # Those that a task's dictConfig() has dropped and the worker has put back are not listed.
    listed = logging._handlerList  # type: ignore[attr-defined]
    logging.shutdown([*listed, *map(weakref.ref, _handlers)])


def drain() -> None:
    """At the end of the parent, whose listeners are the site's: let them write what they have."""
    deadline = clock.monotonic() + DRAIN_SECONDS
    for listener in _listeners:
        waiting: Any = listener.queue
        while _runs(listener) and not waiting.empty() and clock.monotonic() < deadline:
            time.sleep(0.01)


def _runs(listener: QueueListener) -> bool:
    thread = getattr(listener, "_thread", None)
    return thread is not None and thread.is_alive()


def _is_attached(listener: QueueListener) -> bool:
    return any(getattr(handler, "listener", None) is listener for handler in _handlers)


def _like(old: Any) -> Any:
    return type(old)(old.maxsize) if isinstance(old, queue.Queue) else queue.SimpleQueue()
