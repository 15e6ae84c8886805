"""What was found in another queue: what would become of it, and what cannot be moved."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from django.apps import apps
from django.db import transaction

from ...contrib.rq.functions import call_function, sign
from ...core.backport import task_classes
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
# Names in one statement.
CHUNK = 500
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


def there_already(findings: Findings) -> set[str]:
    """The names of those that were made before, or of which there is a schedule."""
    using, backends = ledger_database(), stored_backends(default_backend())
    names: set[str] = set()
    jobs = {_key_of(found, findings.source): found for found in findings.found}
    records = IdempotencyRecord.objects.using(using).filter(scope=SCOPE)
    for keys in batched(jobs, CHUNK):
        there = records.filter(key__in=keys).values_list("key", flat=True)
        names |= {jobs[key].name for key in there if jobs[key].timing is None}
    schedules = [found.name for found in findings.found if found.timing is not None]
    rows = Schedule.objects.using(using).filter(backend__in=backends)
    for some in batched(schedules, CHUNK):
        names |= set(rows.filter(name__in=some).values_list("name", flat=True))
    return names


def batched(values: Iterable[str], count: int) -> Iterator[list[str]]:
    """The values, so many at a time."""
    rest = iter(values)
    while some := list(islice(rest, count)):
        yield some


def make_all(findings: Findings, actor: Actor) -> list[Found]:
    """Make what is not there yet, all in one transaction or nothing. Returns what was made."""
    new: list[Found] = []
    with transaction.atomic(ledger_database()):
        there = there_already(findings)
        for found in findings.found:
            if found.name not in there:
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
            function_at(path)
        except Unmovable as why:
            raise Unmovable(f"{error} {why}") from None
    arguments: tuple[Any, ...] = (path, sign(path, {}), list(args), dict(kwargs), {})
    return FoundCall(call_function.using(**changes), arguments)


def function_at(path: str) -> Any:
    """The function or task at this path, which must be one of the site.

    Its path comes from where others may write, such as a Redis without a password: os.system or a
    function of a library is not called because it is named there. Raises Unmovable.
    """
    if not _is_of_site(path):
        raise Unmovable(
            f"{path} is neither of an installed app nor of the site's own code: call it in a task"
        )
    try:
        found = resolve_name(path)
    except (ImportError, AttributeError, ValueError) as error:
        raise Unmovable(f"{path} cannot be imported here: {error}") from error
    if not callable(found) and not isinstance(found, task_classes()):
        raise Unmovable(f"{path} cannot be called")
    return found


def _is_of_site(path: str) -> bool:
    if any(path.startswith(f"{app.name}.") for app in apps.get_app_configs()):
        return True
    top = path.partition(".")[0]
    try:
        spec = find_spec(top)
    except ValueError:
        return False
    if spec is None or top in sys.stdlib_module_names:
        return False
    places = [spec.origin] if spec.origin else list(spec.submodule_search_locations or ())
    libraries = {sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")}
    parts = {"site-packages", "dist-packages"}
    return not any(
        parts & set(Path(place).parts) or any(map(Path(place).is_relative_to, libraries))
        for place in places
    )


def refuse_values(**columns: str) -> None:
    """Raise Unmovable for the first of these that is not empty: the text says what it was."""
    for name, why in columns.items():
        if why:
            raise Unmovable(f"{name}: {why}")


def in_future(moment: datetime, now: datetime) -> datetime | None:
    """The moment; None if it has come already, and the job is due."""
    return moment if moment > now else None
