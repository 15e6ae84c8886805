"""`manage.py bgresume`: let the jobs of a paused queue go on."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from ...core.options import backend_settings, default_alias
from ...flow.actions import resume_queue
from ...ledger.pauses import paused
from ...ledger.sql import ledger_alias


class Command(BaseCommand):
    """Within two seconds workers begin jobs of these queues again."""

    help = "Let paused queues go on."
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        """See docs/workers.md."""
        parser.add_argument("queues", nargs="*", metavar="QUEUE")
        parser.add_argument("--all", action="store_true", help="All that are paused.")
        parser.add_argument("--backend", help="Alias in TASKS. Default: the first of this package.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Resume each."""
        backend = options["backend"] or default_alias()
        try:
            backend_settings(backend)
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from error
        names = options["queues"]
        if options["all"]:
            names = sorted(paused(backend, ledger_alias()))
        elif not names:
            raise CommandError("Name the queues, or say --all.")
        for name in names:
            gone = resume_queue(name, backend)
            self.stdout.write(f"{name} goes on." if gone else f"{name} was not paused.")
