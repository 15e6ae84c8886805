"""`manage.py bgimport`: make schedules and jobs of those of another queue."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from django.core.management.base import CommandError
from django.db import DEFAULT_DB_ALIAS

from ...core.payload import printable
from ...transport.connection import RedisError
from ..arguments import Text
from ..base import TranslatedCommand, shell_actor
from ..imports.celery_beat import read_celery_beat
from ..imports.django_q import read_django_q
from ..imports.findings import Findings, Unmovable, make_all, there_already
from ..imports.huey import read_huey
from ..imports.rq import read_rq, read_rq_scheduler

Read = Callable[[str, str | None], list[Findings]]
SOURCES: dict[str, Read] = {
    "django-celery-beat": lambda database, _url: [read_celery_beat(database)],
    "rq-scheduler": lambda _database, url: read_rq_scheduler(url),
    "django-rq": lambda _database, url: read_rq(url),
    "django-q": lambda database, url: [read_django_q(database, url)],
    "huey": lambda _database, url: [read_huey(url)],
}


class Command(TranslatedCommand):
    """Shows what would be made; with --apply makes it, once, however often it runs."""

    help = "Make schedules and jobs of those of another queue. Shows them, unless --apply is given."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add = parser.add_argument
        add("--from", dest="source", choices=[*SOURCES], required=True, help="The other queue.")
        add("--apply", action="store_true", help="Make them, in one transaction.")
        add("--json", action="store_true", help="Print JSON.")
        text = "Where the other queue has its Redis. Default: as its own settings say."
        add("--redis-url", type=Text(4096), metavar="URL", help=text)
        text = "The database with the tables of the other queue."
        add("--database", default=DEFAULT_DB_ALIAS, type=Text(), help=text)

    def handle(self, *args: Any, **options: Any) -> None:
        """Read, and show or make it."""
        try:
            read = SOURCES[options["source"]]
            every = read(options["database"], options["redis_url"])
        except Unmovable as error:
            raise CommandError(str(error)) from error
        except RedisError as error:
            raise CommandError(f"Redis does not answer: {error}") from error
        if options["json"]:
            self.stdout.write(json.dumps([_as_dict(findings) for findings in every], indent=2))
        for findings in every:
            lines = [] if options["json"] else _lines(findings)
            if options["apply"]:
                new = make_all(findings, shell_actor("bgimport"))
                lines.append(f"{len(new)} made, {len(findings.found) - len(new)} there before.")
            if not options["json"]:
                self.stdout.write("\n".join(lines))
        if not options["json"]:
            self.stdout.write(_ending(every, options["apply"]))


def _lines(findings: Findings) -> list[str]:
    there = there_already(findings)
    lines = [f"{findings.source}, {findings.place}:"]
    for kind in ("schedule", "job"):
        for found in findings.found:
            if (found.timing is None) == (kind == "job"):
                states = [] if found.enabled else ["paused"]
                states += ["there already"] if found.name in there else []
                queue = found.call.task.queue_name
                line = f"  {kind} {found.name}: {found.path}, {found.when}, queue {queue}"
                lines.append(printable(", ".join([line, *states])))
    lines += [printable(f"  stays there: {left.name}: {left.why}") for left in findings.left]
    lines += [f"  {note}" for note in findings.notes]
    if not findings.found and not findings.left:
        lines.append("  nothing is there.")
    return lines


def _ending(every: list[Findings], is_made: bool) -> str:
    off = f"There: {every[0].switch_off}" if every else ""
    return off if is_made else f"Nothing was made: run it with --apply to make it. {off}"


def _as_dict(findings: Findings) -> dict[str, Any]:
    """A program reads it."""
    there = there_already(findings)
    return {
        "source": findings.source,
        "place": findings.place,
        "switch_off": findings.switch_off,
        "found": [
            {
                "kind": "job" if found.timing is None else "schedule",
                "name": found.name,
                "task": found.path,
                "queue": found.call.task.queue_name,
                "when": found.when,
                "enabled": found.enabled,
                "there": found.name in there,
            }
            for found in findings.found
        ],
        "left": [{"name": left.name, "why": left.why} for left in findings.left],
        "notes": findings.notes,
    }
