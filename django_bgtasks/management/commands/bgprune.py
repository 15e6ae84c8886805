"""`manage.py bgprune`: delete what has served its time, now."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from ...core.options import MAX_DAYS, default_backend, stored_backends
from ...core.states import FINAL
from ...ledger.history import record
from ...ledger.lifecycle import ledger_database
from ...ledger.prune import prune_jobs
from ...models import HistoryVerb
from ...worker.maintenance import prune
from ..arguments import Number
from ..base import TranslatedCommand, shell_actor


class Command(TranslatedCommand):
    """Does at once what maintenance does by and by, or deletes more than that."""

    help = gettext_lazy("Delete final jobs that are older than they are kept, in chunks.")

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        text = _("Delete jobs that ended longer ago than this.")
        parser.add_argument("--days", type=Number(float, 0, MAX_DAYS), metavar="D", help=text)
        text = _("With --days, only jobs in this state.")
        parser.add_argument("--state", choices=sorted(map(str, FINAL)), action="append", help=text)

    def handle(self, *args: Any, **options: Any) -> None:
        """Delete chunk after chunk of one backend's jobs, and say how much it was."""
        days, using = options["days"], ledger_database()
        if days is None and options["state"]:
            raise CommandError(_("--state goes with --days."))
        backend = options["backend"] or default_backend()
        deleted = 0
        if days is None:
            try:
                self.chosen_backend(options)
            except CommandError as error:
                text = _(
                    "With --days, the jobs of a backend that TASKS does not have are deleted too."
                )
                raise CommandError(f"{error} {text}") from error
            while chunk := prune.run_once(using, [backend]):
                deleted += chunk
        else:
            # Also of a backend that TASKS does not have any more: nobody else deletes its jobs.
            self.refuse_unknown_backend(options["backend"])
            backends = stored_backends(backend)
            age = timedelta(days=days)
            ages = dict.fromkeys(options["state"] or sorted(FINAL), age)
            while chunk := prune_jobs(ages, backends, using):
                deleted += chunk
        text = ngettext("%d row was deleted.", "%d rows were deleted.", deleted)
        if deleted:
            rows = ngettext("%d row", "%d rows", deleted) % deleted
            record(HistoryVerb.PRUNED, shell_actor("bgprune"), [{"detail": rows}], using)
        self.stdout.write(text % deleted)
