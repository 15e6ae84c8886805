"""Is it alive, and is it ready? For load balancers, orchestrators and monitoring."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest, JsonResponse

from ..core.options import backend_settings
from ..ledger.identity import ledger_database
from ..monitoring import queries
from ..monitoring.snapshot import LOST_SINCE, OVERDUE_AFTER
from ..transport.connection import describe, reason
from ..worker.preflight import redis_silence, unapplied
from .machines import for_machines

BROKEN = (DatabaseError, InterfaceError)
# Maintenance promotes within a second: who is so late does not run_once.
STALLED_AFTER = 30.0 + OVERDUE_AFTER


@for_machines
def healthz(request: HttpRequest, backends: list[str]) -> JsonResponse:
    """200 if each backend has a live worker whose maintenance ticks, 503 with the reasons
    otherwise.
    """
    return _answer({backend: _tried(_health, backend) for backend in backends})


@for_machines
def readyz(request: HttpRequest, backends: list[str]) -> JsonResponse:
    """200 if the database, the tables and Redis are there, 503 with the reasons otherwise.

    `?without=redis` leaves Redis out: jobs are taken and run without it.
    """
    without = request.GET.get("without") == "redis"
    return _answer({backend: _tried(_ready, backend, without) for backend in backends})


def _health(backend: str) -> list[str]:
    using, problems = ledger_database(), []
    workers = queries.workers(backend, LOST_SINCE, using)
    if not any(row.lost_at is None and row.seen <= row.dead_after for row in workers):
        problems.append("No worker is alive. Start one: python manage.py bgworker")
    overdue, delay = queries.overdue(STALLED_AFTER, backend, using)
    if overdue:
        problems.append(
            f"Maintenance does not run_once: {overdue} jobs are due since up to {delay:.0f} s."
        )
    return problems


def _ready(backend: str, without_redis: bool) -> list[str]:
    missing = unapplied(ledger_database())
    problems = []
    if missing:
        problems.append(f"Run: python manage.py migrate (missing: {', '.join(missing)})")
    if backend_settings(backend).options.dispatch and not without_redis:
        why = redis_silence(backend)
        if why is not None:
            problems.append(f"Redis at {describe(backend)} does not answer: {why}")
    return problems


def _tried(look: Callable[..., list[str]], *args: Any) -> list[str]:
    try:
        return look(*args)
    except BROKEN as error:
        return [f"The database does not answer: {reason(error)}"]
    except ImproperlyConfigured as error:
        return [str(error)]


def _answer(problems: dict[str, list[str]]) -> JsonResponse:
    is_well = not any(problems.values())
    told: dict[str, Any] = {"ok": is_well, "backends": problems}
    return JsonResponse(told, status=200 if is_well else 503)
