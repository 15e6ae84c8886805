"""`manage.py bgaudit`: what a project has of Celery, RQ, Huey, Dramatiq or django-q2."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ...contrib.audit import audit_project


class Command(BaseCommand):
    """Reads code and settings, without running them, and lists what has to move."""

    help = (
        "List the tasks, calls, locks, schedules and settings of other task libraries, each with "
        "its file, line and section of docs/moving.md. Code is read, and never run."
    )
    # It reads files: a site whose settings or tables are not ready can be audited.
    requires_system_checks = ()
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        text = "Directories or files. Default: the directory in which you are."
        parser.add_argument("paths", nargs="*", type=Path, default=[], metavar="PATH", help=text)
        parser.add_argument("--json", action="store_true", help="Print JSON.")

    def handle(self, *args: Any, **options: Any) -> None:
        paths = [Path(path) for path in options["paths"]] or [Path()]
        missing = [str(path) for path in paths if not path.exists()]
        if missing:
            raise CommandError(f"There is no {', '.join(missing)}.")
        report = audit_project(paths)
        text = json.dumps(report.as_dict(), indent=2) if options["json"] else None
        # Who reads it may stop in the middle, as `head` does.
        with suppress(BrokenPipeError):
            self.stdout.write("\n".join(report.lines()) if text is None else text)
            self.stdout.flush()
