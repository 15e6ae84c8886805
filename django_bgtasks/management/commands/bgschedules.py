"""`manage.py bgschedules`: list schedules, pause and resume them, and run one now."""

from __future__ import annotations

import difflib
import json
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from django.core.management.base import CommandError
from django.utils.text import get_text_list
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext

from ...core.compat import InvalidTask
from ...core.cron_text import explain
from ...core.errors import BgTasksError
from ...core.formats import NOTHING, duration, exact, number
from ...ledger.history import Actor
from ...ledger.lifecycle import ledger_database
from ...models import Job, Schedule
from ...monitoring.schedules import STATES, last_jobs, schedules_of, state_of, with_lateness
from ...schedules.actions import pause_schedule, resume_schedule, run_schedule_now
from ..arguments import Text
from ..base import TranslatedCommand, shell_actor
from ..screens import ScreenTable, table_lines

NAME = Text(200)
# So many are named where one was not found.
NEAR = 3
COLUMNS = (
    "name", "backend", "task", "source", "overridden", "args", "kwargs", "cron", "every", "zone",
    "catch_up", "overlap", "grace", "jitter", "when", "paused_by", "skipped", "error",
)  # fmt: skip
TIMES = ("next_at", "last_tick", "paused_at")


class Command(TranslatedCommand):
    """Shows when each schedule is next due and how its last job ended. Changes count at once."""

    help = gettext_lazy("List schedules, pause and resume them, or run them now.")

    def add_arguments(self, parser: ArgumentParser) -> None:
        text = _("What to do with the named ones. Without it all are listed.")
        parser.add_argument("action", nargs="?", choices=[*self._actions()], help=text)
        parser.add_argument("names", nargs="*", type=NAME, metavar=_("NAME"))
        parser.add_argument("--json", action="store_true", help=_("Print JSON."))
        super().add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        backend, action, names = self.chosen_backend(options), options["action"], options["names"]
        rows = schedules_of(backend, ledger_database()).order_by("name")
        if action is None:
            self.stdout.write(_as_json(rows) if options["json"] else _as_table(rows))
            return
        if options["json"]:
            raise CommandError(_("--json is for the list."))
        if not names:
            raise CommandError(_("Name the schedules."))
        _refuse_unknown(names, rows)
        actor = shell_actor("bgschedules")
        for name in names:
            try:
                self.stdout.write(self._actions()[action](name, backend, actor))
            except (BgTasksError, InvalidTask) as error:
                raise CommandError(str(error)) from error

    @staticmethod
    def _actions() -> dict[str, Callable[[str, str, Actor], str]]:
        return {"pause": _pause, "resume": _resume, "run": _run}


def _pause(name: str, backend: str, actor: Actor) -> str:
    now = pause_schedule(name, backend=backend, by=actor)
    return (_("%s is paused.") if now else _("%s was paused before.")) % name


def _resume(name: str, backend: str, actor: Actor) -> str:
    was_paused = resume_schedule(name, backend=backend, by=actor)
    return (_("%s goes on.") if was_paused else _("%s was not paused.")) % name


def _run(name: str, backend: str, actor: Actor) -> str:
    job = run_schedule_now(name, backend=backend, by=actor)
    if job is None:
        text = _("%s: a job that is live holds its dedup key. Nothing was enqueued.")
        raise CommandError(text % name)
    return _("%(name)s: job %(job)s is enqueued.") % {"name": name, "job": job.pk}


def _refuse_unknown(names: list[str], rows: Any) -> None:
    """CommandError, before anything is done, with the names that are the most alike."""
    known = list(rows.values_list("name", flat=True))
    for name in names:
        if name in known:
            continue
        text, more = _("There is no schedule %r.") % name, ""
        if near := difflib.get_close_matches(name, known, NEAR, 0.5):
            more = _("Do you mean %s?") % get_text_list([*map(repr, near)], _("or"))
        elif not known:
            more = _("There are none: those of the code come with the first worker.")
        raise CommandError(f"{text} {more}".rstrip())


def _as_table(rows: Any) -> str:
    schedules = list(with_lateness(rows))
    jobs = last_jobs(schedules, ledger_database())
    heads = (
        _("schedule"), pgettext("of a schedule", "when"), pgettext("of a schedule", "next"),
        _("last job"), _("skipped"), _("state"),
    )  # fmt: skip
    lines = [_line(row, jobs.get(row.pk)) for row in schedules]
    return "\n".join(table_lines(ScreenTable("", heads, lines, _("There are none."))))


def _line(row: Schedule, job: Job | None) -> tuple[str, ...]:
    ended = exact(job.finished_at or job.enqueued_at) if job else ""
    return (
        row.name,
        explain(row.cron or row.every or 0, row.zone),
        exact(row.next_at) if row.next_at and not row.paused_at else NOTHING,
        f"{ended} {job.get_state_display()}" if job else NOTHING,
        number(row.skipped),
        _state(row),
    )


def _state(row: Any) -> str:
    """What is not as it should be."""
    state = state_of(row)
    if state == "paused":
        return _("paused by %s") % row.paused_by if row.paused_by else _("paused")
    if state == "late":
        return _("late by %s") % duration(row.late_by)
    if state == "refused":
        return str(row.error)
    return "" if state == "active" else str(STATES[state])


def _as_json(rows: Any) -> str:
    """A program reads it: it is the same in every language, and its times are in UTC."""
    schedules = list(with_lateness(rows))
    jobs = last_jobs(schedules, ledger_database())
    return json.dumps([_as_dict(row, jobs.get(row.pk)) for row in schedules], indent=2)


def _as_dict(row: Schedule, job: Job | None) -> dict[str, Any]:
    times = {name: value.isoformat() if (value := getattr(row, name)) else None for name in TIMES}
    last = None
    if job is not None:
        last = {"id": str(job.pk), "state": job.state, "tick": _iso(job.tick)}
        last |= {"enqueued_at": _iso(job.enqueued_at), "finished_at": _iso(job.finished_at)}
    values = {name: getattr(row, name) for name in COLUMNS}
    return {"state": state_of(row), **values, **times, "last_job": last}


def _iso(moment: Any) -> str | None:
    return None if moment is None else moment.isoformat()
