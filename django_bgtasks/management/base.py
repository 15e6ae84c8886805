"""What the commands have in common: their texts are in the site's language."""

from __future__ import annotations

import getpass
import os
import socket
from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.translation import gettext as _

from ..core.options import backend_settings, default_backend, known_backends
from ..ledger.history import Actor
from ..ledger.lifecycle import ledger_database
from ..models import Job
from .arguments import JobId, Number, Text


def shell_actor(command: str) -> Actor:
    """Who runs this command, for the history: the user of the shell, and the host."""
    name = os.environ.get("SUDO_USER", "")
    if not name:
        try:
            name = getpass.getuser()
        except (KeyError, OSError):
            # In a container the number may have no name.
            name = str(os.getuid())
    return Actor(f"{name}@{socket.gethostname()}", command)


class TranslatedCommand(BaseCommand):
    """A command whose `help` may be a lazy translation, about one backend."""

    help: Any
    requires_migrations_checks = False
    _parser: CommandParser

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Django's, in the language of now: argparse takes no lazy text."""
        self.help = str(self.help)
        self._parser = super().create_parser(prog_name, subcommand, **kwargs)
        return self._parser

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Django's. What call_command() has as keywords is checked as on the command line."""
        for action in self._parser._actions:
            value = options.get(action.dest)
            if not isinstance(action.type, Number | Text | JobId) or value is None:
                continue
            try:
                for item in value if isinstance(value, list) else [value]:
                    action.type(item)
            except ArgumentTypeError as error:
                name = "/".join(action.option_strings) or action.dest
                raise CommandError(f"{name}: {error}") from None
        return super().execute(*args, **options)

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The option that says which backend."""
        text = _("A backend of TASKS. Default: the first of this package.")
        parser.add_argument("--backend", type=Text(), help=text)

    def chosen_backend(self, options: dict[str, Any]) -> str:
        """The backend that is meant. CommandError if TASKS has none of that name."""
        backend, option = options["backend"] or default_backend(), "--backend"
        try:
            backend_settings(backend)
        except ImproperlyConfigured as error:
            raise CommandError(f"{option}: {error}") from error
        return backend

    def refuse_unknown_backend(self, backend: str | None) -> None:
        """Raise CommandError for a backend that neither TASKS nor any job has."""
        known = known_backends()
        if backend is None or backend in known:
            return
        if not Job.objects.using(ledger_database()).filter(backend=backend).exists():
            text = _("--backend: neither TASKS nor any job has %(backend)r. TASKS has %(known)s.")
            raise CommandError(text % {"backend": backend, "known": ", ".join(known)})
