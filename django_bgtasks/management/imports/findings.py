"""What was found in another queue: what would become of it, and what cannot be moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.db import transaction
from django.utils.module_loading import import_string

from ...contrib.rq.functions import call_function, sign
from ...core.compat import InvalidTask
from ...core.cron_text import explain
from ...core.errors import BgTasksError
from ...core.options import default_backend, stored_backends
from ...core.timing import Cron, Timing
from ...idempotency.once import once
from ...jobs.discovery import try_to_discover
from ...jobs.enqueue import build
from ...jobs.task import as_background_task, find_task
from ...ledger.history import Actor
from ...ledger.lifecycle import ledger_database
from ...models import IdempotencyRecord, Schedule
from ...schedules.actions import check_row, pause_schedule, set_schedule
from ...schedules.call import row_of

SCOPE = "bgimport"
# For so long an import that runs once more knows what it has made.
REMEMBERED = timedelta(days=365)
# What a value or a definition of another queue may raise where it does not fit.
WRONG = (BgTasksError, InvalidTask, LookupError, TypeError, ValueError, SyntaxError)


class Unmovable(ValueError):
    """Something that has no equal here; its text says why, and what to write."""


@dataclass(frozen=True, slots=True)
class FoundCall:
    """A call that is to be made: task, with what using() changes of it, and its arguments.

    then: the steps of a workflow behind it.
    """

    task: Any
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    then: Sequence[Any] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """A schedule or a waiting job. name: what it is called there. timing: None of a job."""

    name: str
    path: str
    call: FoundCall
    timing: Timing | None = None
    enabled: bool = True

    @property
    def when(self) -> str:
        """When it is to run, for people."""
        if self.timing is None:
            run_after = self.call.task.run_after
            return "now" if run_after is None else f"at {run_after:%Y-%m-%d %H:%M:%S %Z}"
        if isinstance(self.timing, Cron):
            return str(explain(self.timing.expression, self.timing.zone or ""))
        return str(explain(self.timing.seconds))


@dataclass(frozen=True, slots=True)
class LeftThere:
    """What cannot be moved, and why."""

    name: str
    why: str


@dataclass
class Findings:
    """What was found in one place. switch_off: what must not run there any more."""

    source: str
    place: str
    switch_off: str
    found: list[Found] = field(default_factory=list)
    left: list[LeftThere] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, read: Any) -> None:
        """Add what read() gives; what it raises says why it stays there."""
        try:
            found = read()
            check(found)
            self.found.append(found)
        except WRONG as error:
            self.left.append(LeftThere(name, str(error)))


def check(found: Found) -> None:
    """Raise what making it would raise, without making it."""
    call = found.call
    if found.timing is None:
        build(call.task, call.args, call.kwargs)
    else:
        check_row(row_of(found.name, call.task, _timing_of(found)))


def is_there(found: Found, source: str) -> bool:
    """Whether it was made before, or a schedule of its name is there."""
    using = ledger_database()
    if found.timing is not None:
        backends = stored_backends(found.call.task.backend)
        rows = Schedule.objects.using(using).filter(name=found.name, backend__in=backends)
        return rows.exists()
    records = IdempotencyRecord.objects.using(using)
    return records.filter(scope=SCOPE, key=_key_of(found, source)).exists()


def make_all(findings: Findings, actor: Actor) -> list[Found]:
    """Make what is not there yet, all in one transaction or nothing. Returns what was made."""
    new: list[Found] = []
    with transaction.atomic(ledger_database()):
        for found in findings.found:
            if not is_there(found, findings.source):
                _make(found, findings.source, actor)
                new.append(found)
    return new


def _make(found: Found, source: str, actor: Actor) -> None:
    if found.timing is None:
        # Once, also if another one imports at the same time.
        once(_key_of(found, source), partial(_enqueue, found), scope=SCOPE, keep_for=REMEMBERED)
        return
    set_schedule(found.name, found.call.task, _timing_of(found), by=actor)
    if not found.enabled:
        pause_schedule(found.name, backend=found.call.task.backend, by=actor)


def _enqueue(found: Found) -> str:
    call = found.call
    if not call.then:
        return str(call.task.enqueue(*call.args, **call.kwargs).id)
    from ...workflows.flow import chain

    return str(chain(call.task.step(*call.args, **call.kwargs), *call.then).enqueue().id)


def _key_of(found: Found, source: str) -> str:
    return f"{source}:{found.name}"


def _timing_of(found: Found) -> Timing:
    timing: Any = found.timing
    changed: Timing = replace(timing, args=list(found.call.args), kwargs={**found.call.kwargs})
    return changed


def task_at(path: str) -> Any:
    """The task at a path, or that has this name. Raises Unmovable if there is none here."""
    try_to_discover()
    try:
        task = find_task(path)
    except BgTasksError as error:
        raise Unmovable(f"{path} is no task here: {error}") from error
    return as_background_task(task, getattr(task, "backend", None) or default_backend())


def call_at(path: str, args: Sequence[Any], kwargs: Mapping[str, Any], **changes: Any) -> FoundCall:
    """A call of the task at this path, or of the function if that is no task.

    changes: for using(). Raises Unmovable if nothing can be imported.
    """
    changes = {name: value for name, value in changes.items() if value is not None}
    try:
        return FoundCall(task_at(path).using(**changes), args, kwargs)
    except Unmovable as error:
        try:
            function = import_string(path)
        except ImportError:
            raise error from None
        if not callable(function):
            raise
    arguments: tuple[Any, ...] = (path, sign(path), list(args), dict(kwargs), {})
    return FoundCall(call_function.using(**changes), arguments)


def refuse_values(**columns: str) -> None:
    """Raise Unmovable for the first of these that is not empty: the text says what it was."""
    for name, why in columns.items():
        if why:
            raise Unmovable(f"{name}: {why}")


def in_future(moment: datetime, now: datetime) -> datetime | None:
    """The moment; None if it has come already, and the job is due."""
    return moment if moment > now else None
