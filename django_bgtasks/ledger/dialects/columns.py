"""The columns that the hot statements write and read, between Python and the drivers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from django.db import connections, models
from django.db.models.base import ModelState
from django.db.models.expressions import Col

from ...core import clock
from ...core.payload import to_json
from ...models import Job

TABLE = Job._meta.db_table
FIELDS = {field.attname: field for field in Job._meta.concrete_fields}
# The database's clock writes this one.
WRITTEN = [name for name in FIELDS if name != "enqueued_at"]
# What a row has of which nobody says otherwise.
DEFAULTS = {name: FIELDS[name].get_default() for name in WRITTEN if name != "id"}
# What many calls of a task have in common.
SHARED = [name for name in WRITTEN if name not in ("id", "args", "kwargs")]
# What a run does not need of its job's row: it is read if somebody asks for it.
UNREAD = {
    *("state", "finished_at", "result", "dedup_slot", "dedup_until"),
    *("progress_done", "progress_total", "progress_message", "error_params", "held_reason"),
}
READ = [name for name in FIELDS if name not in UNREAD]
BLANK = {"enqueued_at": None, **DEFAULTS}
# Nothing but a dedup slot that is taken: other errors are to be seen.
FREE_SLOT = "(dedup_slot) WHERE dedup_slot IS NOT NULL"
CLAIMED = {"state": "running", "finished_at": None, "result": None}


def is_plain(job: Job) -> bool:
    """Whether the row holds values only: an expression is for the ORM to write."""
    return not any(hasattr(value, "resolve_expression") for value in job.__dict__.values())


def columns(names: Sequence[str]) -> list[str]:
    """The columns of fields."""
    return [str(FIELDS[name].column) for name in names]


def named(job: Job) -> tuple[str, ...]:
    """The fields of which this row has a value of its own."""
    row = job.__dict__
    return "id", *(name for name, default in DEFAULTS.items() if row[name] != default)


def written(job: Job, using: str, names: Sequence[str] = WRITTEN) -> list[Any]:
    """The values of these fields as the driver takes them."""
    row = job.__dict__
    return [_stored(FIELDS[name], row[name], using) for name in names]


def as_json(calls: Sequence[Any]) -> str:
    """The ids and arguments of calls as one JSON text: an array of arrays of three."""
    return to_json([[job_id.hex, args, kwargs] for job_id, args, kwargs in calls])


def _stored(field: Any, value: Any, using: str) -> Any:
    if value is None:
        return None
    if isinstance(field, models.JSONField):
        return to_json(value)
    if isinstance(value, str):
        # A state is an enumeration, of which a driver would take the name.
        return str.__str__(value)
    if isinstance(value, int | float):
        return value
    return field.get_db_prep_save(value, connections[using])


def claimed(values: Sequence[Any], using: str) -> Job:
    """The claimed job whose columns READ the driver has returned."""
    row = list(values)
    for place, convert in _converters(using):
        row[place] = convert(row[place])
    job = _empty()
    job._state.adding, job._state.db = False, using
    job.__dict__.update(zip(READ, row, strict=True), **CLAIMED)
    return job


def unsaved(**values: Any) -> Job:
    """A job that has no row yet: Job(**values) with a new id."""
    job = _empty()
    job.__dict__.update(BLANK, id=clock.new_id(), **values)
    return job


def _empty() -> Job:
    """A job without fields, which its maker sets.

    Django makes one in three times the time; the ledger's own rows have no other makers than us.
    """
    job = Job.__new__(Job)
    job._state = ModelState()
    return job


def enqueued_at(value: Any, using: str) -> Any:
    """The time that the database gave to a new row."""
    place = READ.index("enqueued_at")
    converters = dict(_converters(using))
    return converters[place](value) if place in converters else value


@cache
def _converters(using: str) -> list[tuple[int, Callable[[Any], Any]]]:
    """The columns of READ whose values the driver does not return as the model has them."""
    compiler = Job.objects.using(using).query.get_compiler(using=using)
    found: dict[int, Any] = compiler.get_converters([Col(TABLE, FIELDS[name]) for name in READ])
    return [(place, _chain(chain, column, using)) for place, (chain, column) in found.items()]


def _chain(steps: Sequence[Any], column: Any, using: str) -> Callable[[Any], Any]:
    connection = connections[using]

    def convert(value: Any) -> Any:
        for step in steps:
            value = step(value, column, connection)
        return value

    return convert
