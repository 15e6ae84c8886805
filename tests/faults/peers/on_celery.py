"""Celery with Redis as broker and for results, and with late acknowledgement."""

from __future__ import annotations

import json
import os
import sys
import uuid
from collections.abc import Sequence
from typing import Any, ClassVar

import redis

from .adapter import Adapter, State

QUEUE, UNACKED, RESULT = "celery", "unacked", "celery-task-meta-"
STATES = {"SUCCESS": State.FINISHED, "FAILURE": State.FAILED}


class AcksLate(Adapter):
    name = "celery"
    title = "Celery, `acks_late`"
    packages = ("celery", "kombu", "redis")
    options = (
        "`celery worker --concurrency 1`, Redis as broker and result backend, "
        "`task_acks_late`, `worker_prefetch_multiplier = 1`, enqueued with `apply_async_on_commit`"
    )
    more: ClassVar[dict[str, Any]] = {}

    def settings(self, redis_url: str) -> dict[str, Any]:
        return {
            "CELERY_BROKER_URL": redis_url,
            "CELERY_RESULT_BACKEND": redis_url,
            "CELERY_TASK_ACKS_LATE": True,
            "CELERY_WORKER_PREFETCH_MULTIPLIER": 1,
            "CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP": True,
            **self.more,
        }

    def command(self) -> list[str]:
        app = "tests.faults.peers.celery_tasks"
        options = ("--concurrency", "1", "--loglevel", "INFO", "-n", f"{uuid.uuid4().hex}@%h")
        return [sys.executable, "-m", "celery", "-A", app, "worker", *options]

    def enqueue(self, key: str, nap: float = 0.0, gated: bool = False) -> None:
        from .celery_tasks import run

        run.apply_async_on_commit(args=(key, nap, gated), task_id=key)

    def states(self, keys: Sequence[str]) -> dict[str, State]:
        with redis.Redis.from_url(os.environ["BGTASKS_TEST_REDIS_URL"]) as client:
            waiting = {_task_id(json.loads(text)) for text in client.lrange(QUEUE, 0, -1)}
            unacked = {_task_id(json.loads(text)[0]) for text in client.hvals(UNACKED)}
            results = client.mget([RESULT + key for key in keys]) if keys else []
        return {
            key: _state(key in waiting, key in unacked, result)
            for key, result in zip(keys, results, strict=True)
        }


class RejectOnWorkerLost(AcksLate):
    name = "celery_reject"
    title = "Celery, `acks_late` and `reject_on_worker_lost`"
    options = "the same and `task_reject_on_worker_lost`"
    more: ClassVar[dict[str, Any]] = {"CELERY_TASK_REJECT_ON_WORKER_LOST": True}


class AllOptions(RejectOnWorkerLost):
    name = "celery_all"
    title = "Celery, and `visibility_timeout` of 15 s"
    options = (
        "the same, `result_backend_always_retry`, and in `broker_transport_options` "
        "`visibility_timeout` 15 s instead of an hour, `unacked_restore_interval` 5 s and "
        "`unacked_restore_throttle` 1 instead of 10 each"
    )
    more: ClassVar[dict[str, Any]] = {
        **RejectOnWorkerLost.more,
        "CELERY_RESULT_BACKEND_ALWAYS_RETRY": True,
        "CELERY_BROKER_TRANSPORT_OPTIONS": {
            "visibility_timeout": 15,
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
        },
    }


def _task_id(message: dict[str, Any]) -> str:
    return str(message["headers"]["id"])


def _state(waiting: bool, unacked: bool, result: bytes | None) -> State:
    state = STATES.get(json.loads(result)["status"]) if result else None
    if state is None and waiting:
        state = State.WAITING
    return state or (State.RUNNING if unacked else State.GONE)
