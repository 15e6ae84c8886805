"""`manage.py bgstatus`: the dashboard in the terminal."""

from __future__ import annotations

import json
import sys
import time
from argparse import ArgumentParser
from importlib.util import find_spec
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError
from django.utils import translation
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ...core.options import backend_settings, default_backend
from ...monitoring.diagnosis import diagnose, level_of
from ...monitoring.problems import Problem
from ...monitoring.snapshot import Snapshot, take_snapshot
from ...transport.connection import reason
from .. import screens
from ..arguments import Number
from ..base import TranslatedCommand

EXIT_CODES = {"ok": 0, "info": 0, "warning": 1, "critical": 2}
UNKNOWN_CODE = 3
CLEAR = "\033[2J\033[H"


class Command(TranslatedCommand):
    """Shows queues, workers, running jobs and failures. The exit code is for monitoring."""

    help = gettext_lazy(
        "Show queues, workers, running jobs and failures. Exit code: 0 ok, 1 warning, 2 critical, "
        "3 unknown."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--json", action="store_true", help=_("Print JSON."))
        parser.add_argument("--watch", action="store_true", help=_("Show it again and again."))
        text = _("Seconds between two looks.")
        parser.add_argument(
            "--every", type=Number(float, 0.1, 86_400), default=2.0, metavar="S", help=text
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Show it once or until interrupted, and exit with the code of the last look."""
        backend = options["backend"] or default_backend()
        try:
            backend_settings(backend)
            look = self._watch if options["watch"] else self._once
            code = look(backend, options)
        except (DatabaseError, ImproperlyConfigured) as error:
            self.stderr.write(_("unknown: %s") % reason(error).text)
            code = UNKNOWN_CODE
        if code:
            sys.exit(code)

    def _once(self, backend: str, options: dict[str, Any]) -> int:
        # A program reads JSON: it is the same in every language.
        with translation.override(None if options["json"] else translation.get_language()):
            snapshot = take_snapshot(backend)
            problems = diagnose(snapshot)
            render = _as_json if options["json"] else screens.plain_text
            self.stdout.write(render(snapshot, problems))
        return EXIT_CODES[level_of(problems)]

    def _watch(self, backend: str, options: dict[str, Any]) -> int:
        if options["json"] or not sys.stdout.isatty():
            return self._repeat(backend, options, "")
        if find_spec("rich") is None:
            hint = "pip install 'django-bgtasks[terminal]'"
            self.stderr.write(_("For a calmer screen: %s") % hint)
            time.sleep(1)
            return self._repeat(backend, options, CLEAR)
        return self._live(backend, options["every"])

    def _repeat(self, backend: str, options: dict[str, Any], before: str) -> int:
        try:
            while True:
                self.stdout.write(before, ending="")
                self._once(backend, options)
                self.stdout.flush()
                time.sleep(options["every"])
        except KeyboardInterrupt:
            # The person who watched has seen how it stands.
            return EXIT_CODES["ok"]

    def _live(self, backend: str, every: float) -> int:
        from rich.console import Console
        from rich.live import Live

        with Live(console=Console(), auto_refresh=False, screen=True) as live:
            try:
                while True:
                    snapshot = take_snapshot(backend)
                    problems = diagnose(snapshot)
                    live.update(screens.rich_text(snapshot, problems), refresh=True)
                    time.sleep(every)
            except KeyboardInterrupt:
                return EXIT_CODES["ok"]


def _as_json(snapshot: Snapshot, problems: list[Problem]) -> str:
    found = [problem.as_dict() for problem in problems]
    values = {"level": level_of(problems), "problems": found, **snapshot.as_dict()}
    return json.dumps(values, indent=2)
