"""The indexes that the queries rely on are there on every database."""

from __future__ import annotations

import pytest
from django.db import connection

from django_bgtasks.models import Job


@pytest.mark.django_db
@pytest.mark.parametrize("name", [index.name for index in Job._meta.indexes])
def test_an_index_is_there_whether_or_not_the_database_has_partial_ones(name: str) -> None:
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, Job._meta.db_table)
    assert name in found


@pytest.mark.django_db
def test_the_dedup_slot_is_unique_and_has_one_index() -> None:
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, Job._meta.db_table)
    on_slot = {name: each for name, each in found.items() if each["columns"] == ["dedup_slot"]}
    assert [(name, each["unique"]) for name, each in on_slot.items()] == [
        ("bgtasks_job_dedup_slot", True)
    ]
