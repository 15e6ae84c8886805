"""`manage.py bgpause`: hold the jobs of a queue."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from django.utils.module_loading import autodiscover_modules

from ...core.options import default_alias
from ...core.registry import queues_of
from ...flow.actions import pause_queue
from ...ledger.queues import with_queued_jobs
from ...ledger.sql import ledger_alias


class Command(BaseCommand):
    """Within two seconds no worker begins a job of these queues any more. What runs goes on."""

    help = "Pause queues: their jobs wait until bgresume."
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        """See docs/workers.md."""
        parser.add_argument("queues", nargs="+", metavar="QUEUE")
        parser.add_argument("--backend", help="Alias in TASKS. Default: the first of this package.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Pause each."""
        backend = options["backend"] or default_alias()
        autodiscover_modules("tasks")
        try:
            known = queues_of(backend).union(with_queued_jobs(backend, ledger_alias()))
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from error
        if unknown := [name for name in options["queues"] if name not in known]:
            raise CommandError(
                f"Unknown queue: {', '.join(unknown)}. There are {', '.join(sorted(known))}."
            )
        for name in options["queues"]:
            now = pause_queue(name, backend, by="bgpause")
            self.stdout.write(f"{name} is paused." if now else f"{name} was paused before.")
