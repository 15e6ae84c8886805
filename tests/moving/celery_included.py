"""A module with a task that only the app of a site names."""

from __future__ import annotations

from django_bgtasks.contrib.celery import shared_task


@shared_task(queue="uploads")
def included() -> str:
    """Be found."""
    return "included"
