"""`manage.py bgprune`: delete what has served its time, now."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from ...core.options import MAX_DAYS, backend_settings, default_alias
from ...core.states import FINAL
from ...flow.upkeep import prune
from ...ledger.prune import prune_jobs
from ...ledger.sql import ledger_alias
from ..base import TranslatedCommand


class Command(TranslatedCommand):
    """Does at once what upkeep does by and by, or deletes more than that."""

    help = gettext_lazy("Delete final jobs that are older than they are kept, in chunks.")

    def add_arguments(self, parser: ArgumentParser) -> None:
        """See docs/workers.md for each option with an example."""
        super().add_arguments(parser)
        text = _("Delete jobs that ended longer ago than this.")
        parser.add_argument("--days", type=float, metavar="D", help=text)
        parser.add_argument(
            "--state",
            choices=sorted(FINAL),
            action="append",
            help=_("With --days, only jobs in this state."),
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Delete chunk after chunk, and say how much it was."""
        days, alias = options["days"], ledger_alias()
        if days is None and options["state"]:
            raise CommandError(_("--state goes with --days."))
        # Written so that NaN is refused too.
        if days is not None and not days >= 0:
            raise CommandError(_("--days takes zero or more days."))
        try:
            kept = backend_settings(options["backend"] or default_alias()).options
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from error
        deleted = 0
        if days is None:
            while chunk := prune.tick(kept, alias):
                deleted += chunk
        else:
            ages = dict.fromkeys(
                options["state"] or sorted(FINAL), timedelta(days=min(days, MAX_DAYS))
            )
            while chunk := prune_jobs(ages, alias):
                deleted += chunk
        text = ngettext("%d row was deleted.", "%d rows were deleted.", deleted)
        self.stdout.write(text % deleted)
