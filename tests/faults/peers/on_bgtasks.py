"""This package, with its defaults."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .adapter import Adapter, State, manage

STATES = {
    "blocked": State.WAITING,
    "scheduled": State.WAITING,
    "queued": State.WAITING,
    "running": State.RUNNING,
    "succeeded": State.FINISHED,
    "failed": State.FAILED,
    "cancelled": State.FAILED,
}


class Bgtasks(Adapter):
    name = "bgtasks"
    title = "django_bgtasks"
    packages = ("django-bgtasks", "rq", "redis")
    options = "`manage.py bgworker`, `Retry(max_attempts=4)`; everything else is the default"

    def settings(self, redis_url: str) -> dict[str, Any]:
        return {}

    def command(self) -> list[str]:
        return manage("bgworker", "--processes", "1")

    def enqueue(self, key: str, nap: float = 0.0, gated: bool = False) -> None:
        from .bgtasks_tasks import run

        self.ids[key] = str(run.enqueue(key, nap, gated).id)

    def states(self, keys: Sequence[str]) -> dict[str, State]:
        from django_bgtasks.models import Job

        rows = Job.objects.filter(pk__in=[self.ids[key] for key in keys if key in self.ids])
        known = {str(pk): state for pk, state in rows.values_list("pk", "state")}
        return {
            key: STATES[known[self.ids[key]]] if self.ids.get(key) in known else State.GONE
            for key in keys
        }

    def reset(self) -> None:
        from django_bgtasks.models import Job, Worker

        super().reset()
        Job.objects.all().delete()
        Worker.objects.all().delete()
