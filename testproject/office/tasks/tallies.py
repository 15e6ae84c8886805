"""Counting: an increment is the classic effect that must not happen twice."""

from __future__ import annotations

from django.db.models import F

from django_bgtasks import Retry, task

from ..models import Tally


@task(atomic=True, priority=-50, timeout=10, retry=Retry(max_attempts=5))
def add_to_tally(name: str, amount: int) -> None:
    """Add to one of the home page's figures, exactly once.

    Atomic: the new count commits with the record that the job succeeded, or neither does.
    """
    Tally.objects.get_or_create(name=name)
    Tally.objects.filter(name=name).update(count=F("count") + amount)
