"""The context that a call carries to its job, such as its tenant: `OPTIONS["carry"]`.

It is captured once for each call, stored with the row, and restored around each attempt. Where
there is none, it costs a truth test for each job.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from inspect import isawaitable, iscoroutinefunction
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from ..core.errors import Interruption, InvalidArguments
from ..core.noted import Noted
from ..core.options import CACHED, backend_of, backend_settings
from ..core.payload import fault_of, json_value, printable, to_json

if TYPE_CHECKING:
    from ..models import Job

logger = logging.getLogger("django_bgtasks")
MOST_BYTES = 4096
LONGEST_NAME = 100
# What is to be carried in place of what is captured, with a True before it.
_inherited: ContextVar[tuple[bool, str | None]] = ContextVar(
    "bgtasks_carried", default=(False, None)
)
# The names that jobs carry and OPTIONS does not have: the log has them.
_logged: set[str] = set()


@dataclass(frozen=True, slots=True)
class Carried:
    """One value of the context of a call, which its job has too.

    name: under which it is stored; two of a backend have different ones.
    capture: called by enqueue(); returns a JSON value, or None where there is none.
    restore: called with that value, or None, where an attempt begins. It returns a context manager,
        which ends with the attempt. If it returns none, it is called once more at the end, with
        what capture() has returned just before the attempt.
    """

    name: str
    capture: Callable[[], Any]
    restore: Callable[[Any], Any]

    def __post_init__(self) -> None:
        if fault := fault_of(self.name, LONGEST_NAME):
            raise ImproperlyConfigured(f"The name of a Carried {fault.rstrip('.')}: {self.name!r}.")
        for what in ("capture", "restore"):
            function = getattr(self, what)
            if not callable(function) or iscoroutinefunction(function):
                raise ImproperlyConfigured(
                    f"Carried({self.name!r}): {what} takes a function that is no coroutine "
                    f"function, not {function!r}."
                )

    @contextmanager
    def restored(self, value: Any) -> Iterator[None]:
        """Within it the context has this value."""
        before = self._now()
        manager = self.restore(value)
        if isinstance(manager, AbstractContextManager):
            with manager:
                yield
            return
        if isawaitable(manager) or hasattr(manager, "__aenter__"):
            raise TypeError(f"restore() of the Carried {self.name!r} must not be asynchronous.")
        try:
            yield
        finally:
            self.restore(before)

    def _now(self) -> Any:
        try:
            return self.capture()
        except Interruption:
            raise
        except Exception:
            # Outside of a request there may be none.
            return None


@cache
def carried_of(backend: str) -> tuple[Carried, ...]:
    """What the jobs carry that have this backend in their row, in the order of OPTIONS.

    Raises ImproperlyConfigured where OPTIONS names what is none, or a name twice.
    """
    home = backend_of(backend)
    found = () if home is None else tuple(map(carried_at, backend_settings(home).options.carry))
    refuse_same_names(found)
    return found


CACHED.append(carried_of)


def carried_at(path: str) -> Carried:
    """The Carried at this path; ImproperlyConfigured if there is none."""
    try:
        found: Any = import_string(path)
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise ImproperlyConfigured(f"The Carried {path!r} cannot be imported: {why}.") from error
    if not isinstance(found, Carried):
        raise ImproperlyConfigured(f"The object {path!r} is no django_bgtasks.Carried.")
    return found


def refuse_same_names(found: Iterable[Carried]) -> None:
    """Raise ImproperlyConfigured where two have one name: one value would be lost."""
    names = [carried.name for carried in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ImproperlyConfigured(
            f"Two different Carried have the name {', '.join(map(repr, twice))}. Rename one."
        )


def carry(jobs: Iterable[Job], backend: str, task: str) -> None:
    """Put the context of the call onto its unsaved rows; it is captured once for all of them.

    Raises InvalidArguments for what cannot be captured or stored.
    """
    is_given, text = _inherited.get()
    if not is_given:
        text = _captured(backend, task)
    for job in jobs:
        job.carried = text


@contextmanager
def carrying(text: str | None) -> Iterator[None]:
    """What is enqueued in this block carries this, as the row of another job has it."""
    token = _inherited.set((True, text))
    try:
        yield
    finally:
        _inherited.reset(token)


def _captured(backend: str, task: str) -> str | None:
    values = {carried.name: _value(carried, task) for carried in carried_of(backend)}
    values = {name: value for name, value in values.items() if value is not None}
    if not values:
        return None
    text = to_json(values)
    if len(text) > MOST_BYTES:
        sizes = ", ".join(f"{name} ({len(to_json(value))})" for name, value in values.items())
        raise InvalidArguments(
            f"{task}: the carried values are too large: {len(text)} bytes of JSON, at most "
            f"{MOST_BYTES} are kept. They are: {sizes}. Carry an id in place of the data."
        )
    return text


def _value(carried: Carried, task: str) -> Any:
    try:
        return json_value(carried.capture(), f"carried[{carried.name!r}]", task)
    except (Interruption, InvalidArguments):
        raise
    except Exception as error:
        raise InvalidArguments(
            f"{task}: the value {carried.name!r} that its jobs carry cannot be captured: "
            f"{type(error).__name__}: {error}. Nothing was enqueued."
        ) from error


def carried_values(job: Job) -> dict[str, Any]:
    """The values that a job carries, by their names."""
    if job.carried is None:
        return {}
    values = json.loads(job.carried)
    if not isinstance(values, dict):
        raise ValueError("The carried context of a job is a JSON object, and this is none.")
    return values


def restored(job: Job) -> AbstractContextManager[object]:
    """Within it the context is what the job carries, and None where it carries no value.

    What a function of the site raises has its name in a note.
    """
    known = carried_of(job.backend)
    if job.carried is None and not known:
        return nullcontext()
    return _all_restored(job, known)


@contextmanager
def _all_restored(job: Job, known: Iterable[Carried]) -> Iterator[None]:
    values = carried_values(job)
    with ExitStack() as stack:
        for carried in known:
            value = values.pop(carried.name, None)
            note = f"From the Carried {carried.name!r}."
            stack.enter_context(Noted(carried.restored(value), note))
        for name in set(values) - _logged:
            _logged.add(name)
            text = "Job %s carries %s, which OPTIONS['carry'] does not have here: it is ignored."
            logger.warning(text, job.pk, printable(name))
        yield
