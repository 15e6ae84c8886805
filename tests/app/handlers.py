"""Tasks beside those in `tasks`: only a backend whose OPTIONS name this module imports it."""

from __future__ import annotations

from django_bgtasks import task


@task(queue_name="handled")
def handle(number: int) -> int:
    return number
