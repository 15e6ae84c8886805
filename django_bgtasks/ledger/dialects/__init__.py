"""The statements of the hot path as text: insert, claim and settle on PostgreSQL and SQLite.

The ORM takes longer to write them than the database to run them. They promise the same as the
portable forms in insert.py, claim.py and settle.py: one suite of tests holds for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol
from uuid import UUID

from django.db import connections

from ...models import Job
from . import postgres, sqlite


class Form(Protocol):
    """What a database with statements of its own offers."""

    def insert(self, job: Job, if_free: bool, using: str) -> bool: ...

    def insert_calls(self, first: Job, calls: Sequence[Any], using: str) -> None: ...

    def claim(
        self,
        job_ids: Sequence[UUID],
        worker: UUID,
        using: str,
        queues: Sequence[str],
        backends: Sequence[str],
    ) -> list[Job]: ...

    def settle(self, done: Sequence[tuple[Job, Any]], worker: UUID, using: str) -> set[UUID]: ...


def form_of(using: str) -> Form | None:
    """The hot statements for this database; None where only the portable forms are."""
    return FORMS.get(connections[using].vendor)


FORMS: dict[str, Form] = {"postgresql": postgres, "sqlite": sqlite}
