"""The periodic tasks of django-celery-beat, read by their rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

from django.utils import timezone

from ...core.timing import Cron, Every, Rule, Timing
from ...ledger.times import database_now
from .findings import Findings, Found, FoundCall, Unmovable, in_future, task_at
from .rows import aware, table_names, table_rows

TABLE = "django_celery_beat_periodictask"
PERIODS = ("days", "hours", "minutes", "seconds", "microseconds")
SWITCH_OFF = (
    "stop celery beat, or clear `enabled` of what has moved; a worker of Celery may go on with "
    "what is in its queues."
)


def read_celery_beat(database: str) -> Findings:
    """The rows of this database. Raises Unmovable if it has no such table."""
    if TABLE not in table_names(database):
        raise Unmovable(f"The database {database!r} has no table {TABLE}.")
    findings = Findings("django-celery-beat", f"database {database}", SWITCH_OFF)
    others = {
        kind: {row["id"]: row for row in table_rows(database, f"django_celery_beat_{kind}schedule")}
        for kind in ("crontab", "interval", "clocked")
    }
    for row in sorted(table_rows(database, TABLE), key=lambda row: str(row["name"])):
        if row["task"] == "celery.backend_cleanup":
            findings.notes.append("celery.backend_cleanup is left out: maintenance prunes here.")
            continue
        findings.add(row["name"], partial(_read, row, others, database))
    return findings


def _read(row: Mapping[str, Any], others: Mapping[str, Any], database: str) -> Found:
    _refuse(row)
    expires = row.get("expire_seconds")
    changes = {"queue_name": row.get("queue") or None, "expires": expires or None}
    task = _task_named(row["task"])
    task = task.using(**{name: value for name, value in changes.items() if value is not None})
    args, kwargs = json.loads(row["args"] or "[]"), json.loads(row["kwargs"] or "{}")
    timing, now = None, database_now(database)
    if row.get("clocked_id"):
        moment = aware(others["clocked"][row["clocked_id"]]["clocked_time"])
        if not row["enabled"] or row.get("last_run_at"):
            raise Unmovable("it is for one time, and has run or is switched off")
        task = task.using(run_after=in_future(moment, timezone.now()))
    else:
        timing = _timing(row, others)
    if timing is not None and row.get("one_off"):
        if not row["enabled"] or row.get("last_run_at"):
            raise Unmovable("it is for one time, and has run or is switched off")
        rule: Rule = timing.rule(now)
        task, timing = task.using(run_after=rule.next_after(now)), None
    call = FoundCall(task, args, kwargs)
    return Found(row["name"], row["task"], call, timing, bool(row["enabled"]))


def _task_named(name: str) -> Any:
    """The task that Celery knows by this name, or that is at this path. Raises Unmovable."""
    from ...contrib.celery.registry import TASKS

    return TASKS[name].background_task if TASKS.has(name) else task_at(name)


def _refuse(row: Mapping[str, Any]) -> None:
    now = timezone.now()
    if (expires := row.get("expires")) and aware(expires) <= now:
        raise Unmovable("it has ended: its `expires` is over")
    if expires:
        raise Unmovable(
            "its `expires` ends the schedule. Schedules have no end here: set it with "
            "set_schedule(), and remove_schedule() then"
        )
    if (start := row.get("start_time")) and aware(start) > now:
        raise Unmovable("its `start_time` is yet to come: import it then, or set it with `when`")
    for name in ("exchange", "routing_key"):
        if row.get(name):
            raise Unmovable(f"it has {name} {row[name]!r}; here a queue has a name: name the queue")
    if row.get("headers") not in (None, "", "{}"):
        raise Unmovable("it has headers; here a middleware or a carried value has what they said")
    if row.get("priority") is not None:
        raise Unmovable(
            f"its priority {row['priority']} means what its broker says. Give the task "
            f"priority=..., from -100 to 100, and clear this"
        )
    if row.get("solar_id"):
        raise Unmovable("it follows the sun: give the task a schedule with when=is_sunset, say")


def _timing(row: Mapping[str, Any], others: Mapping[str, Any]) -> Timing:
    if row.get("interval_id"):
        interval = others["interval"][row["interval_id"]]
        if interval["period"] not in PERIODS[:-1]:
            raise Unmovable(f"its period is {interval['period']}; here it is a second at least")
        return Every(**{interval["period"]: interval["every"]}, overlap="allow")
    if not row.get("crontab_id"):
        raise Unmovable("it has neither an interval nor a crontab")
    cron = others["crontab"][row["crontab_id"]]
    return Cron(_expression(cron), zone=str(cron["timezone"]), overlap="allow")


def _expression(cron: Mapping[str, Any]) -> str:
    from ...contrib.celery.schedules import CeleryCrontab

    names = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
    return CeleryCrontab(**{name: str(cron[name]).replace(" ", "") for name in names}).expression
