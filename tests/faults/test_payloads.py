"""Arguments, results and messages that cannot be kept or read."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
import redis
from django.db import transaction

from django_bgtasks import InvalidArguments
from django_bgtasks.models import Job
from tests.named import waiting_in

from . import abuse_tasks, tasks
from .abuses.errors import Unprintable
from .case import Case
from .unharmed import ended, runs_the_next

pytestmark = pytest.mark.faults
long = pytest.mark.long

ARGUMENTS: list[tuple[Any, str]] = [
    ("x" * 10_000_000, "is too large"),
    ([["x"] * 1000] * 1000, "is too large"),
    (float("nan"), "is nan, which JSON does not have"),
    (float("inf"), "is inf"),
    ("a\0b", "contains a NUL character"),
    ({"a\0b": 1}, "contains a NUL character"),
    ("\ud800", "contains a lone surrogate"),
    (b"\xff", "bytes that are not UTF-8"),
    (Decimal(1), "is not JSON"),
    (UUID(int=1), "is not JSON"),
    ({1: 2}, "JSON keys are strings"),
    (10**400, "Pass it as a string"),
    (Unprintable(), "is not JSON"),
]
RESULTS = [
    ("returns_nul", "contains a NUL character"),
    pytest.param("returns_surrogate", "contains a lone surrogate", marks=long),
    pytest.param("returns_nan", "is nan", marks=long),
    pytest.param("returns_object", "is not JSON", marks=long),
    ("returns_10_mb", "is too large"),
    pytest.param("returns_bytes", "bytes that are not UTF-8", marks=long),
    pytest.param("returns_itself", "is nested too deep", marks=long),
]
MESSAGES = [
    b"\xff\xfe\x00",
    b"",
    b"\x00" * 1000,
    b'{"id": 1}',
    b"\x80\x04\x95.",
    "ü".encode("latin-1"),
    b"x" * 10_000_000,
]


def test_arguments_that_cannot_be_kept_are_refused_and_leave_the_view_as_it_was(
    case: Case,
) -> None:
    case.row("Tasks", "Arguments that cannot be kept: 10 MB, NaN, NUL …", times=len(ARGUMENTS))
    worker = case.worker()
    with transaction.atomic():
        for value, says in ARGUMENTS:
            with pytest.raises(InvalidArguments) as refused:
                abuse_tasks.takes.enqueue(value)
            assert says in str(refused.value)
            assert len(str(refused.value)) < 1000
        job = case.enqueue(abuse_tasks.takes, "kept")
    assert ended(case, job).result == "str"
    assert Job.objects.count() == 1
    runs_the_next(case, worker)


@pytest.mark.parametrize(("name", "says"), RESULTS)
def test_a_result_that_cannot_be_kept_fails_its_job_and_says_why(
    case: Case, name: str, says: str
) -> None:
    case.row("Tasks", f"Results that cannot be kept, of {len(RESULTS)} kinds")
    worker = case.worker()
    job = case.enqueue(abuse_tasks.misbehaves, name)
    failed = ended(case, job)
    assert (failed.state, failed.result) == ("failed", None)
    assert failed.error.startswith(("InvalidArguments: ", "TypeError: "))
    assert says in failed.error
    assert case.outcomes(job) == ["failed"]
    assert runs_the_next(case, worker) == case.effects.of("end", job.id)[0].pid


def test_messages_that_are_no_text_are_dropped(case: Case, redis_client: redis.Redis) -> None:
    case.row("Tasks", "Messages that are not UTF-8, or no id", times=len(MESSAGES))
    worker = case.worker()
    before = case.enqueue(tasks.plain)
    assert ended(case, before).state == "succeeded"
    redis_client.rpush(waiting_in("default"), *MESSAGES)
    assert runs_the_next(case, worker) == case.effects.of("end", before.id)[0].pid
    assert redis_client.llen(waiting_in("default")) == 0
    assert "Traceback" not in worker.output
