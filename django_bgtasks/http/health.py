"""Is it alive, and is it ready? For load balancers, orchestrators and monitoring."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest, JsonResponse
from django.utils import translation

from ..core.messages import Reason
from ..ledger.lifecycle import ledger_database
from ..monitoring.diagnosis import diagnose, redis_problem
from ..monitoring.problems import Level
from ..monitoring.snapshot import take_workers_snapshot
from ..transport.connection import describe, reason, uses_redis
from ..worker.preflight import redis_silence, unapplied
from .auth import for_machines

DATABASE_ERRORS = (DatabaseError, InterfaceError)


@for_machines
def healthz(request: HttpRequest, backends: list[str]) -> JsonResponse:
    """200 if nothing critical is wrong with the workers and their maintenance, 503 with the
    reasons otherwise. It asks the database only, in three statements for each backend.
    """
    return _answer({backend: _problems_of(_health, backend) for backend in backends})


@for_machines
def readyz(request: HttpRequest, backends: list[str]) -> JsonResponse:
    """200 if the database, the tables and Redis are there, 503 with the reasons otherwise.

    `?without=redis` leaves Redis out: jobs are taken and run without it.
    """
    without = request.GET.get("without") == "redis"
    return _answer({backend: _problems_of(_ready, backend, without) for backend in backends})


def _health(backend: str) -> list[str]:
    problems = diagnose(take_workers_snapshot(backend, ledger_database()))
    return [str(problem) for problem in problems if problem.level is Level.CRITICAL]


def _ready(backend: str, without_redis: bool) -> list[str]:
    missing = unapplied(ledger_database())
    problems = []
    if missing:
        problems.append(f"Run: python manage.py migrate (missing: {', '.join(missing)})")
    if uses_redis(backend) and not without_redis:
        why = redis_silence(backend)
        if why is not None:
            problems.append(str(redis_problem(describe(backend), why)))
    return problems


def _problems_of(look: Callable[..., list[str]], *args: Any) -> list[str]:
    try:
        # A program reads it: it is the same in every language.
        with translation.override(None):
            return look(*args)
    except DATABASE_ERRORS as error:
        return [f"The database does not answer: {reason(error)}"]
    except ImproperlyConfigured as error:
        return [str(error)]


def _answer(problems: dict[str, list[str]]) -> JsonResponse:
    is_well = not any(problems.values())
    body: dict[str, object] = {"ok": is_well, "backends": problems}
    if without := [backend for backend in problems if not uses_redis(backend)]:
        body["notes"] = {backend: [str(Reason("without_redis"))] for backend in without}
    return JsonResponse(body, status=200 if is_well else 503)
