"""The Django app."""

from __future__ import annotations

import sys
from typing import Any

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class BgTasksConfig(AppConfig):
    """Background tasks: the database is the ledger, Redis is the engine."""

    name = "django_bgtasks"
    verbose_name = _("Background tasks")
    default_auto_field = "django.db.models.BigAutoField"

    def __init__(self, app_name: str, app_module: Any) -> None:
        super().__init__(app_name, app_module)
        if sys.argv[1:2] == ["bgworker"]:
            # Django needs a second or two from here on; a stop meanwhile is no error.
            from .worker import garbage, unix_signals

            unix_signals.install()
            garbage.put_off_collections()

    def ready(self) -> None:
        """Make the backend known and register the checks; no I/O."""
        from . import checks  # noqa: F401
        from .core.options import default_backend
        from .jobs.task import ensure_backend
        from .mail import checks as mail_checks  # noqa: F401

        ensure_backend(default_backend())
