"""django-tasks-db: the backend of Django's tasks that keeps them in the database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .adapter import Adapter, State, manage

STATES = {
    "READY": State.WAITING,
    "RUNNING": State.RUNNING,
    "SUCCESSFUL": State.FINISHED,
    "FAILED": State.FAILED,
}


class DatabaseTasks(Adapter):
    name = "django_tasks_db"
    title = "django-tasks-db"
    packages = ("django-tasks-db",)
    options = "`manage.py db_worker`; it has no option for retries"
    needs_redis = False

    def settings(self, redis_url: str) -> dict[str, Any]:
        from tests.settings import INSTALLED_APPS

        backend = {"BACKEND": "django_tasks_db.DatabaseBackend", "QUEUES": ["default"]}
        return {
            "INSTALLED_APPS": [*INSTALLED_APPS, "django_tasks_db"],
            "TASKS": {"default": backend},
        }

    def command(self) -> list[str]:
        return manage("db_worker")

    def enqueue(self, key: str, nap: float = 0.0, gated: bool = False) -> None:
        from .database_tasks import run

        self.ids[key] = str(run.enqueue(key, nap, gated).id)

    def states(self, keys: Sequence[str]) -> dict[str, State]:
        from django_tasks_db.models import DBTaskResult

        rows = DBTaskResult.objects.filter(pk__in=[self.ids[k] for k in keys if k in self.ids])
        known = {str(pk): status for pk, status in rows.order_by().values_list("pk", "status")}
        return {
            key: STATES[known[self.ids[key]]] if self.ids.get(key) in known else State.GONE
            for key in keys
        }

    def reset(self) -> None:
        from django_tasks_db.models import DBTaskResult

        super().reset()
        DBTaskResult.objects.all().delete()
