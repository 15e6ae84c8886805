"""RQ as django-rq runs it, with a retry for each job; on several queues, and on one.

On one queue RQ pops into an intermediate list; on several it uses BLPOP, which cannot.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from .adapter import ATTEMPTS, Adapter, State, manage
from .body import body

KEPT_SECONDS = 3600


class SeveralQueues(Adapter):
    name = "rq"
    title = "django-rq, three queues"
    packages = ("django-rq", "rq", "redis")
    options = (
        "`manage.py rqworker high default low`, `Retry(max=3)` for each job, enqueued on commit "
        "(django-rq's default)"
    )
    queues: ClassVar[tuple[str, ...]] = ("high", "default", "low")

    def settings(self, redis_url: str) -> dict[str, Any]:
        from tests.settings import INSTALLED_APPS

        queue = {"URL": redis_url, "DEFAULT_RESULT_TTL": KEPT_SECONDS}
        return {
            "INSTALLED_APPS": [*INSTALLED_APPS, "django_rq"],
            "RQ_QUEUES": dict.fromkeys(self.queues, queue),
        }

    def command(self) -> list[str]:
        return manage("rqworker", *self.queues)

    def enqueue(self, key: str, nap: float = 0.0, gated: bool = False) -> None:
        import django_rq
        from rq import Retry

        queue = django_rq.get_queue("default")
        queue.enqueue(body, key, nap, gated, job_id=key, retry=Retry(max=ATTEMPTS - 1))

    def states(self, keys: Sequence[str]) -> dict[str, State]:
        import django_rq

        queue = django_rq.get_queue("default")
        keys_of = {
            State.RUNNING: {
                *queue.started_job_registry.get_job_ids(cleanup=False),
                *queue.intermediate_queue.get_job_ids(),
            },
            State.FAILED: set(queue.failed_job_registry.get_job_ids(cleanup=False)),
            State.FINISHED: set(queue.finished_job_registry.get_job_ids(cleanup=False)),
            State.WAITING: {
                *queue.get_job_ids(),
                *queue.scheduled_job_registry.get_job_ids(cleanup=False),
            },
        }
        state_of = {key: state for state, found in keys_of.items() for key in found}
        return {key: state_of.get(key, State.GONE) for key in keys}


class OneQueue(SeveralQueues):
    name = "rq_one_queue"
    title = "django-rq, one queue"
    options = "the same with `manage.py rqworker default`"
    queues = ("default",)
