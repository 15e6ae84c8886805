"""`manage.py bgpause`: hold the jobs of a queue."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ...jobs.actions import pause_queue
from ...jobs.discovery import discover_tasks
from ...jobs.task import queues_of
from ...ledger.lifecycle import ledger_database
from ...ledger.queues import with_queued_jobs
from ..arguments import QUEUE
from ..base import TranslatedCommand, shell_actor


class Command(TranslatedCommand):
    """Within two seconds no worker begins a job of these queues any more. What runs goes on."""

    help = gettext_lazy("Pause queues: their jobs wait until bgresume.")

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("queues", nargs="+", type=QUEUE, metavar=_("QUEUE"))
        super().add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        backend = self.chosen_backend(options)
        discover_tasks(backend)
        known = queues_of(backend).union(with_queued_jobs(backend, ledger_database()))
        if unknown := [name for name in options["queues"] if name not in known]:
            text = _("Unknown queue: %(queues)s. There are %(known)s.")
            values = {"queues": ", ".join(unknown), "known": ", ".join(sorted(known))}
            raise CommandError(text % values)
        actor = shell_actor("bgpause")
        for name in options["queues"]:
            now = pause_queue(name, backend, by=actor)
            text = _("%s is paused.") if now else _("%s was paused before.")
            self.stdout.write(text % name)
