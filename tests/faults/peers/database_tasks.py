"""The body as a task of Django's own interface."""

from django.tasks import task

from .body import body


@task
def run(key: str, nap: float, gated: bool) -> None:
    body(key, nap, gated)
