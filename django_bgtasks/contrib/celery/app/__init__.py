"""What modules take from `celery.app`."""

from __future__ import annotations

from typing import Any

from .base import current_app
from .definition import shared_task

__all__ = ["app_or_default", "shared_task"]


def app_or_default(app: Any = None) -> Any:
    """The app, or that of the site."""
    return app or current_app
