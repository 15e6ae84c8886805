"""What the filters of the job list offer: what the newest jobs of the chosen state have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connections
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from ..models import Attempt, Job

# A state may have millions of jobs: so many of the newest are looked at.
LOOKED_AT = 10_000
# Of failures that have no exception: nobody was there to catch one.
CODES = {
    "worker_gone": _("Its worker was gone"),
    "process_exited": _("Its process exited"),
    "process_fds_closed": _("It closed its descriptors"),
    "process_killed": _("Its process was killed"),
    "process_killed_by_number": _("Its process was killed"),
    "timeout_killed": _("Killed after its timeout"),
    "cancelled_killed": _("Killed when it was cancelled"),
    "skipped": _("A row that it needs was gone"),
}


@dataclass(frozen=True)
class Offered:
    """Names of tasks and queues, and the kinds of errors: classes of exceptions, and codes."""

    tasks: frozenset[str]
    queues: frozenset[str]
    errors: frozenset[str]


def offered(request: HttpRequest, jobs: QuerySet[Job], failed: QuerySet[Job]) -> Offered:
    """Of these jobs, once for a request. failed: those whose errors are offered."""
    attributes: dict[str, Any] = vars(request)
    if "_bgtasks_offered" not in attributes:
        names = _distinct(jobs, ("task", "queue"))
        tasks, queues = (frozenset(row[place] for row in names) for place in (0, 1))
        attributes["_bgtasks_offered"] = Offered(tasks, queues, _errors(failed))
    found: Offered = attributes["_bgtasks_offered"]
    return found


def error_label(kind: str) -> Any:
    """An exception without the module that needs no mention, or what a code means."""
    return CODES.get(kind, kind.removeprefix("builtins."))


def _errors(jobs: QuerySet[Job]) -> frozenset[str]:
    """The kinds of the last failures, by the rows of their attempts."""
    attempts = Attempt._meta.db_table
    rows = _distinct(
        jobs,
        ("id", "attempt", "error_code"),
        "bgtasks_last.exception_class, bgtasks_last.code",
        f"JOIN {attempts} bgtasks_last ON bgtasks_last.job_id = bgtasks_newest.id"
        " AND bgtasks_last.attempt = bgtasks_newest.attempt"
        " WHERE bgtasks_newest.error_code <> ''",
    )
    return frozenset(exception or code for exception, code in rows)


def _distinct(
    jobs: QuerySet[Job], fields: Sequence[str], columns: str = "*", join: str = ""
) -> list[tuple[Any, ...]]:
    """What the newest of these jobs have, each once: DISTINCT outside of LIMIT, which the ORM does
    not write.
    """
    newest = jobs.order_by("-pk").values_list(*fields)[:LOOKED_AT]
    try:
        sql, params = newest.query.get_compiler(jobs.db).as_sql()
    except EmptyResultSet:
        # The filters leave nothing, whatever is there.
        return []
    with connections[jobs.db].cursor() as cursor:
        # Of literals of this file, and what the ORM wrote.
        statement = f"SELECT DISTINCT {columns} FROM ({sql}) bgtasks_newest {join}"  # noqa: S608
        cursor.execute(statement, params)
        return list(cursor.fetchall())
