"""`manage.py bgprune`: delete what has served its time, now."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from ...core.options import backend_settings, default_alias
from ...core.states import FINAL
from ...flow.upkeep import prune
from ...ledger.prune import prune_jobs
from ...ledger.sql import ledger_alias


class Command(BaseCommand):
    """Does at once what upkeep does by and by, or deletes more than that."""

    help = "Delete final jobs that are older than they are kept, in chunks."
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        """See docs/workers.md for each option with an example."""
        parser.add_argument("--backend", help="Alias in TASKS. Default: the first of this package.")
        parser.add_argument(
            "--days", type=float, metavar="D", help="Delete jobs that ended longer ago than this."
        )
        parser.add_argument(
            "--state",
            choices=sorted(FINAL),
            action="append",
            help="With --days, only jobs in this state.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Delete chunk after chunk, and say how much it was."""
        days, alias = options["days"], ledger_alias()
        if days is None and options["state"]:
            raise CommandError("--state goes with --days.")
        if days is not None and days < 0:
            raise CommandError("--days takes zero or more days.")
        try:
            kept = backend_settings(options["backend"] or default_alias()).options
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from error
        deleted = 0
        if days is None:
            while chunk := prune.tick(kept, alias):
                deleted += chunk
        else:
            ages = dict.fromkeys(options["state"] or sorted(FINAL), timedelta(days=days))
            while chunk := prune_jobs(ages, alias):
                deleted += chunk
        self.stdout.write(f"{deleted} {'row was' if deleted == 1 else 'rows were'} deleted.")
