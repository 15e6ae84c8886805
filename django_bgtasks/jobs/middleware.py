"""What a site adds around its jobs: `OPTIONS["middleware"]`, and what bridges add for all backends.

Where there is none, it costs a truth test for each job.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from contextvars import copy_context
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from ..core.current import announced
from ..core.noted import Noted
from ..core.options import backend_of, backend_settings
from ..core.outcomes import Outcome
from ..core.site_code import log_failure
from .carried import restored

if TYPE_CHECKING:
    from ..models import Job
    from .context import JobContext

_of_all_backends: list[Middleware] = []


class Middleware:
    """What happens around jobs. A subclass defines what it needs; it is made without arguments."""

    def on_enqueue(self, jobs: Sequence[Job]) -> None:
        """Called before jobs are inserted, with their unsaved rows.

        What it raises is raised by enqueue(), and nothing is enqueued. The jobs of one
        enqueue_many() without a dedup key differ in their arguments only: what is set on the first
        one is stored with all.
        """

    @contextmanager
    def around(self, context: JobContext) -> Iterator[None]:
        """Entered around the function of a task, within its time limit, where it runs.

        What it raises before its yield is the exception of the attempt.
        """
        yield

    @asynccontextmanager
    async def aaround(self, context: JobContext) -> AsyncIterator[None]:
        """around(), for a coroutine; unless it is overridden, around() is entered on its loop."""
        with self.around(context):
            yield

    def on_outcome(self, context: JobContext, outcome: Outcome) -> None:
        """Called after an attempt is settled, in the process that has settled it.

        What it raises is logged. A process that dies between the two does not call it. Where a
        process died with the attempt, another one settles it: no task runs there, and
        `context.task` is None if it cannot be imported.
        """


def add_middleware(middleware: Middleware) -> None:
    """Add a middleware for all backends of this process, outside of those in OPTIONS.

    For what installs itself, from the settings say. To add one twice changes nothing.
    """
    if middleware not in _of_all_backends:
        _of_all_backends.append(middleware)
        middleware_of.cache_clear()


def remove_middleware(middleware: Middleware) -> None:
    """Take away what add_middleware() has added."""
    if middleware in _of_all_backends:
        _of_all_backends.remove(middleware)
        middleware_of.cache_clear()


@cache
def middleware_of(backend: str) -> tuple[Middleware, ...]:
    """The middleware of the jobs that have this backend in their row, the outermost first.

    Raises ImproperlyConfigured where OPTIONS names what is none.
    """
    home = backend_of(backend)
    return (*_of_all_backends, *(() if home is None else _configured(home)))


@cache
def _configured(backend: str) -> tuple[Middleware, ...]:
    """What OPTIONS names; made once for each process and backend."""
    return tuple(_middleware_of(path) for path in backend_settings(backend).options.middleware)


def _middleware_of(path: str) -> Middleware:
    cls = middleware_class(path)
    try:
        return cls()
    except Exception as error:
        raise ImproperlyConfigured(f"The middleware {path!r} cannot be made: {error!r}.") from error


def middleware_class(path: str) -> type[Middleware]:
    """The class at this path; ImproperlyConfigured if there is none."""
    try:
        found: Any = import_string(path)
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise ImproperlyConfigured(f"The middleware {path!r} cannot be imported: {why}.") from error
    if not (isinstance(found, type) and issubclass(found, Middleware)):
        raise ImproperlyConfigured(
            f"The middleware {path!r} is no subclass of django_bgtasks.Middleware."
        )
    return found


@contextmanager
def entered(context: JobContext) -> Iterator[None]:
    """Within it the carried context is restored, and around() of each middleware is entered."""
    with ExitStack() as stack:
        stack.enter_context(restored(context.job))
        for middleware in middleware_of(context.job.backend):
            around = middleware.around(context)
            stack.enter_context(Noted(around, f"From around() of {_name(middleware)}."))
        yield


@asynccontextmanager
async def aentered(context: JobContext) -> AsyncIterator[None]:
    """Within it the carried context is restored, and aaround() of each middleware is entered."""
    async with AsyncExitStack() as stack:
        stack.enter_context(restored(context.job))
        for middleware in middleware_of(context.job.backend):
            around = middleware.aaround(context)
            note = f"From aaround() of {_name(middleware)}."
            await stack.enter_async_context(Noted(around, note))
        yield


def report_outcome(
    context: JobContext, outcome: Outcome, exception: BaseException | None = None
) -> None:
    """Call on_outcome() of each middleware. exception: what the attempt raised."""
    apart(context, exception, partial(_report_outcome, context, outcome))


def _report_outcome(context: JobContext, outcome: Outcome) -> None:
    for middleware in middleware_of(context.job.backend):
        text = "on_outcome() of %s raised for job %s, which is settled."
        try:
            middleware.on_outcome(context, outcome)
        except BaseException as error:
            log_failure(error, text, _name(middleware), context.job.pk)


def apart(context: JobContext, exception: BaseException | None, act: Callable[[], None]) -> None:
    """Call act() about a job that is settled: what it leaves in context variables ends with it."""

    def run() -> None:
        announced.set(context.job)
        act()

    # Django's context is frozen.
    object.__setattr__(context, "exception", exception)
    copy_context().run(run)
    # Its traceback refers to the context.
    object.__setattr__(context, "exception", None)


def _name(middleware: Middleware) -> str:
    return type(middleware).__qualname__


def _forget(*, setting: str, **kwargs: Any) -> None:
    if setting == "TASKS":
        middleware_of.cache_clear()
        _configured.cache_clear()


setting_changed.connect(_forget, dispatch_uid="django_bgtasks.middleware")
