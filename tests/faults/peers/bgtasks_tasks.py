"""The body as a task of this package."""

from django_bgtasks import Retry, task

from .adapter import ATTEMPTS
from .body import body


@task(retry=Retry(max_attempts=ATTEMPTS, delays=[0], jitter=0))
def run(key: str, nap: float, gated: bool) -> None:
    body(key, nap, gated)
