"""What modules take from `celery.app`."""

from __future__ import annotations

from .definition import shared_task

__all__ = ["shared_task"]
