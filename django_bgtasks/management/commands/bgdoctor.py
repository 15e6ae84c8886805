"""`manage.py bgdoctor`: check a deployment and say what to fix."""

from __future__ import annotations

import sys
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ...ledger.lifecycle import ledger_database
from ...monitoring.problems import Level
from ..base import TranslatedCommand
from ..doctor import Finding, examine

KINDS = {Level.CRITICAL: "ERROR", Level.WARNING: "WARNING", Level.INFO: "NOTICE"}


class Command(TranslatedCommand):
    """Looks at the database, at Redis and at the workers. Exit code 1 if one is critical."""

    help = gettext_lazy("Check the database, Redis and the workers, and say what to fix.")

    def handle(self, *args: Any, **options: Any) -> None:
        findings = list(examine(self.chosen_backend(options), ledger_database()))
        for finding in findings:
            self._print(finding)
        if any(finding.level is Level.CRITICAL and not finding.ok for finding in findings):
            sys.exit(1)

    def _print(self, finding: Finding) -> None:
        labels = {
            "SUCCESS": _("ok"), "ERROR": _("error"), "WARNING": _("warn"), "NOTICE": _("info"),
        }  # fmt: skip
        wide = max(map(len, labels.values())) + 1
        kind = "SUCCESS" if finding.ok else KINDS[finding.level]
        style = getattr(self.style, kind)
        self.stdout.write(style(labels[kind]) + " " * (wide - len(labels[kind])) + finding.what)
        if finding.cure:
            self.stdout.write(" " * wide + finding.cure)
