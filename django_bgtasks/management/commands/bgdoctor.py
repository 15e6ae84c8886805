"""`manage.py bgdoctor`: check a deployment and say what to fix."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from ...core.options import default_alias
from ...ledger.sql import ledger_alias
from ...worker.doctor import Finding, examine


class Command(BaseCommand):
    """Looks at the database, at Redis and at the workers. Exit code 1 for serious findings."""

    help = "Check the database, Redis and the workers, and say what to fix."
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        """See docs/settings.md."""
        parser.add_argument("--backend", help="Alias in TASKS. Default: the first of this package.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print each finding."""
        findings = list(examine(options["backend"] or default_alias(), ledger_alias()))
        for finding in findings:
            self._print(finding)
        if any(finding.serious and not finding.ok for finding in findings):
            sys.exit(1)

    def _print(self, finding: Finding) -> None:
        if finding.ok:
            self.stdout.write(f"{self.style.SUCCESS('ok')}    {finding.what}")
            return
        style = self.style.ERROR("error") if finding.serious else self.style.WARNING("warn ")
        self.stdout.write(f"{style} {finding.what}")
        self.stdout.write(f"      {finding.cure}")
