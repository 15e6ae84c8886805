"""What the commands have in common: their texts are in the site's language."""

from __future__ import annotations

import getpass
import os
import socket
from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.translation import gettext as _

from ..core.options import backend_settings, default_backend
from ..ledger.history import Actor


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

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Django's, in the language of now: argparse takes no lazy text."""
        self.help = str(self.help)
        return super().create_parser(prog_name, subcommand, **kwargs)

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The option that says which backend."""
        text = _("A backend of TASKS. Default: the first of this package.")
        parser.add_argument("--backend", help=text)

    def chosen_backend(self, options: dict[str, Any]) -> str:
        """The backend that is meant. CommandError if TASKS has none of that name."""
        backend = options["backend"] or default_backend()
        try:
            backend_settings(backend)
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from error
        return backend
