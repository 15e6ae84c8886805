"""Which jobs a command is about: those that it names, or all that match."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from ..core.errors import DuplicateJob, InvalidMove
from ..ledger.sql import ledger_alias
from ..models import Job


def job_id(text: str) -> UUID:
    """The id of a job."""
    try:
        return UUID(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no job's id") from None


class SelectionCommand(BaseCommand):
    """Does one thing to each of the chosen jobs. Exit code 1 if one was refused."""

    requires_migrations_checks = False
    # The states that the thing can be done in; without --state those of `usual`.
    states: tuple[str, ...]
    usual: tuple[str, ...]
    verb: str
    act: Callable[[UUID], Any]

    def add_arguments(self, parser: ArgumentParser) -> None:
        """See docs/workers.md for each option with an example."""
        parser.add_argument("jobs", nargs="*", type=job_id, metavar="ID", help="Ids of jobs.")
        parser.add_argument("--all", action="store_true", help="All jobs in --state.")
        parser.add_argument("--task", help="Those of this task, by its dotted path.")
        parser.add_argument("--queue", help="Those in this queue.")
        parser.add_argument("--error", help="Those whose error contains this text.")
        parser.add_argument(
            "--state",
            choices=self.states,
            action="append",
            help=f"Those in this state. Default: {' and '.join(self.usual)}.",
        )
        parser.add_argument("--limit", type=int, metavar="N", help="The oldest N of them.")
        parser.add_argument("--dry-run", action="store_true", help="Only say which they are.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it and say what became of it."""
        ids = options["jobs"] or self._matching(options)
        if options["dry_run"]:
            for one in ids:
                self.stdout.write(str(one))
            self.stdout.write(f"{len(ids)} {_jobs(len(ids))}, and nothing was done.")
            return
        refused = [one for one in ids if not self._do(one)]
        done = len(ids) - len(refused)
        self.stdout.write(f"{done} {_jobs(done)} {self.verb}.")
        if refused:
            raise CommandError(f"{len(refused)} {_jobs(len(refused))} refused.")

    def _matching(self, options: dict[str, Any]) -> list[UUID]:
        names = {"task": "task", "queue": "queue", "error": "error__contains"}
        filters = {path: options[name] for name, path in names.items() if options[name]}
        if not (filters or options["all"] or options["state"]):
            raise CommandError("Name jobs by their ids, or by --task, --queue, --error or --all.")
        states = options["state"] or self.usual
        rows = Job.objects.using(ledger_alias()).filter(state__in=states, **filters)
        return list(rows.order_by("pk").values_list("pk", flat=True)[: options["limit"]])

    def _do(self, one: UUID) -> bool:
        try:
            self.act(one)
        except (InvalidMove, DuplicateJob) as refusal:
            self.stderr.write(str(refusal))
            return False
        except Job.DoesNotExist:
            self.stderr.write(f"There is no job {one}.")
            return False
        return True


def _jobs(count: int) -> str:
    return "job" if count == 1 else "jobs"
