"""Test a site's jobs without Redis: the real state machine, run in the test's own process."""

from __future__ import annotations

from .assertions import assert_enqueued, assert_not_enqueued, enqueued
from .inline import inline_jobs
from .running import run_jobs, without_redis
from .schedules import run_schedules

__all__ = [
    "assert_enqueued",
    "assert_not_enqueued",
    "enqueued",
    "inline_jobs",
    "run_jobs",
    "run_schedules",
    "without_redis",
]
