"""Which jobs a command is about: those that it names, or all that match."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError
from django.db.models import Q
from django.utils.text import get_text_list
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ..core.errors import DuplicateJob, InvalidMove
from ..core.options import stored_backends
from ..core.states import WAITING
from ..ledger.history import Actor
from ..ledger.lifecycle import ledger_database
from ..models import Job
from ..monitoring.queries import is_held
from .arguments import COUNT, QUEUE, JobId, Text
from .base import TranslatedCommand, shell_actor


class SelectionCommand(TranslatedCommand):
    """Does one thing to each of the selected jobs. Exit code 1 if one was refused."""

    help: Any
    # Its own name, for the history.
    command: str
    # The states that the thing can be done in; without --state those of `default_states`.
    states: tuple[str, ...]
    default_states: tuple[str, ...]
    act: Callable[..., Any]
    # What became of so many jobs.
    summary: Any

    def add_arguments(self, parser: ArgumentParser) -> None:
        add = parser.add_argument
        add("jobs", nargs="*", type=JobId(), metavar="ID", help=_("Ids of jobs."))
        add("--all", action="store_true", help=_("All jobs in --state."))
        add("--task", type=Text(), help=_("Those of this task, by its dotted path."))
        add("--queue", type=QUEUE, help=_("Those in this queue."))
        add("--backend", type=Text(), help=_("Those of this backend, by the name that they have."))
        add(
            "--error", type=Text(), help=_("Those whose error contains this text, as it is stored.")
        )
        if WAITING & set(self.states):
            add("--held", action="store_true", help=_("Those that something keeps from running."))
        states = get_text_list([*self.default_states], _("and"))
        text = _("Those in this state. Default: %s.") % states
        add("--state", choices=[str(state) for state in self.states], action="append", help=text)
        add("--limit", type=COUNT, metavar="N", help=_("The oldest N of them."))
        add("--dry-run", action="store_true", help=_("Only say which they are."))

    def handle(self, *args: Any, **options: Any) -> None:
        others = ("all", "task", "queue", "backend", "error", "held", "state", "limit")
        if options["jobs"] and (filters := [name for name in others if options.get(name)]):
            text = _("--%s chooses jobs. Name ids, or choose, but not both.")
            raise CommandError(text % filters[0])
        ids = options["jobs"] or self._matching(options)
        if options["dry_run"]:
            for pk in ids:
                self.stdout.write(str(pk))
            text = ngettext(
                "%d job, and nothing was done.", "%d jobs, and nothing was done.", len(ids)
            )
            self.stdout.write(text % len(ids))
            return
        actor = shell_actor(self.command)
        refused = sum(not self._do(pk, actor) for pk in ids)
        self.stdout.write(self.summary % (len(ids) - refused))
        if refused:
            raise CommandError(ngettext("%d job refused.", "%d jobs refused.", refused) % refused)

    def _matching(self, options: dict[str, Any]) -> list[UUID]:
        paths = {"task": "task", "queue": "queue", "error": "error__contains"}
        filters = [Q((path, options[name])) for name, path in paths.items() if options[name]]
        if options["backend"]:
            filters.append(Q(backend__in=stored_backends(options["backend"])))
        if options.get("held"):
            filters.append(is_held())
        if not (filters or options["all"] or options["state"]):
            text = _("Name jobs by their ids, or by --task, --queue, --backend, --error or --all.")
            raise CommandError(text)
        self.refuse_unknown_backend(options["backend"])
        states = options["state"] or self.default_states
        rows = Job.objects.using(ledger_database()).filter(*filters, state__in=states)
        return list(rows.order_by("pk").values_list("pk", flat=True)[: options["limit"]])

    def _do(self, pk: UUID, actor: Actor) -> bool:
        try:
            self.act(pk, by=actor)
        except (InvalidMove, DuplicateJob) as refusal:
            self.stderr.write(str(refusal))
            return False
        except Job.DoesNotExist:
            self.stderr.write(_("There is no job %s.") % pk)
            return False
        return True
