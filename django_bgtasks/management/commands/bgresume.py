"""`manage.py bgresume`: let the jobs of a paused queue go on."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ...jobs.actions import resume_queue
from ...ledger.lifecycle import ledger_database
from ...ledger.queues import paused
from ..arguments import QUEUE
from ..base import TranslatedCommand, shell_actor


class Command(TranslatedCommand):
    """Within two seconds workers begin jobs of these queues again."""

    help = gettext_lazy("Let paused queues go on.")

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("queues", nargs="*", type=QUEUE, metavar=_("QUEUE"))
        parser.add_argument("--all", action="store_true", help=_("All that are paused."))
        super().add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        backend, names = self.chosen_backend(options), options["queues"]
        if options["all"] and names:
            raise CommandError(_("Name the queues, or say --all, but not both."))
        if options["all"]:
            names = sorted(paused(backend, ledger_database()))
        elif not names:
            raise CommandError(_("Name the queues, or say --all."))
        actor = shell_actor("bgresume")
        for name in names:
            was_paused = resume_queue(name, backend, actor)
            text = _("%s goes on.") if was_paused else _("%s was not paused.")
            self.stdout.write(text % name)
