"""The settings of a site that asks the database while it starts, as some third-party apps do."""

from __future__ import annotations

from django.apps import AppConfig

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS as APPS


class Early(AppConfig):
    """An app that reads a table before anybody forks."""

    name = "tests.faults"
    label = "early"

    def ready(self) -> None:
        """Django warns of this, and it works."""
        from tests.app.models import Note

        Note.objects.exists()


INSTALLED_APPS = [*APPS, "tests.faults.early.Early"]
