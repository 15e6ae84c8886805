"""PostgreSQL: a statement that is a transaction of its own is sent without a cursor, and is like
any other all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import DataError, IntegrityError, OperationalError, connection, transaction
from psycopg.pq import TransactionStatus

from django_bgtasks.core import clock
from django_bgtasks.ledger import pooler
from django_bgtasks.ledger.lifecycle import claim_many, insert, settle_many
from django_bgtasks.ledger.statements import meanwhile
from django_bgtasks.models import Job

from .rows import DB, added, new

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.django_db(transaction=True),
    pytest.mark.parametrize("form", ["hot"], indirect=True),
]
WORKER = clock.new_id()
TEXTS = ["", "a'b\"c\\d", "{x,y}", "$1 %s %% %(a)s", "ä\N{SNOWMAN}", "NULL", "a\nb\tc", "\\N"]


def run_one() -> Job:
    """Insert, claim and settle a job. Returns it as it was claimed."""
    job = added()
    [claimed] = claim_many([job.pk], WORKER, DB)
    assert settle_many([(claimed, {"n": 1})], DB) == {job.pk}
    return claimed


def prepared() -> list[str]:
    """The names of what is prepared in this session."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM pg_prepared_statements ORDER BY name")
        return [name for (name,) in cursor.fetchall()]


def test_each_statement_is_prepared_once() -> None:
    run_one()
    before = prepared()
    for _ in range(3):
        run_one()
    assert prepared() == before
    own = [name for name in before if name.startswith("bgtasks_")]
    assert len(own) == 3


def test_one_plan_that_was_made_for_an_empty_table_serves_all_claims_and_settlements() -> None:
    """To plan each execution takes as long as the execution. None may read the whole table."""
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {Job._meta.db_table} CASCADE")
        cursor.execute("VACUUM ANALYZE django_bgtasks_job")
    for _ in range(20):
        run_one()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT name, generic_plans, custom_plans, CARDINALITY(parameter_types) "
            "FROM pg_prepared_statements WHERE statement LIKE 'UPDATE%%' AND name LIKE 'bgtasks%%'"
        )
        rows = cursor.fetchall()
        assert len(rows) == 2
        for name, generic, custom, width in rows:
            assert (generic >= 20, custom) == (True, 5)
            cursor.execute(f"EXPLAIN EXECUTE {name} ({', '.join(['NULL'] * width)})")
            plan = "\n".join(line for (line,) in cursor.fetchall())
            assert f"Index Scan using {Job._meta.db_table}_pkey" in plan
            assert f"Seq Scan on {Job._meta.db_table}" not in plan


@pytest.mark.parametrize("text", TEXTS)
def test_what_is_stored_and_read_is_the_same_without_a_cursor_and_with_one(text: str) -> None:
    def stored() -> dict[str, Any]:
        values: dict[str, Any] = {
            "args": [text, None, 1.5, {text: [True]}],
            "label": text,
            "timeout": 0.1,
            "priority": -32000,
            "run_after": datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
            "max_attempts": 32_000,
        }
        job = new(**values)
        assert insert(job, DB)
        [row] = claim_many([job.pk], WORKER, DB)
        own = {name: getattr(row, name) for name in values}
        assert own == values
        return own

    alone = stored()
    with transaction.atomic():
        assert stored() == alone


def test_a_text_that_the_database_cannot_hold_is_refused_and_not_cut_off() -> None:
    job = new(label="a\0b")
    with pytest.raises((DataError, ValueError), match="NUL"):
        insert(job, DB)
    assert not Job.objects.filter(pk=job.pk).exists()


def test_its_errors_are_those_of_django() -> None:
    job = added()
    twice = new()
    twice.pk = job.pk
    with pytest.raises(IntegrityError, match="duplicate key"):
        insert(twice, DB)
    run_one()


@pytest.mark.parametrize("forget", ["DEALLOCATE ALL", "DISCARD ALL"])
def test_a_session_that_has_forgotten_what_was_prepared_prepares_it_again(
    forget: str, caplog: pytest.LogCaptureFixture
) -> None:
    run_one()
    for _ in range(3):
        with connection.cursor() as cursor:
            cursor.execute(forget)
        run_one()
    assert not pooler.is_pooled(connection)
    assert not caplog.records


def test_after_a_rollback_it_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        with transaction.atomic():
            # psycopg prepares this, and forgets all it has prepared when it is rolled back.
            run_one()
            transaction.set_rollback(True)
        run_one()
    assert Job.objects.count() == 3
    assert not caplog.records


def test_within_a_transaction_it_is_a_part_of_that() -> None:
    run_one()
    connection.set_autocommit(False)
    try:
        added()
        connection.rollback()
    finally:
        connection.set_autocommit(True)
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
        added()
        cursor.execute("ROLLBACK")
    assert Job.objects.count() == 1


def test_the_wrappers_of_a_site_see_it() -> None:
    seen: list[str] = []

    def look(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        seen.append(sql.split(maxsplit=1)[0])
        return execute(sql, params, many, context)

    run_one()
    with connection.execute_wrapper(look):
        run_one()
    run_one()
    assert seen[:3] == ["INSERT", "UPDATE", "UPDATE"]


def test_a_session_that_was_ended_is_an_operational_error_and_the_next_one_is_fine() -> None:
    run_one()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        [pid] = cursor.fetchone()
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])
    other.close()
    with pytest.raises(OperationalError):
        run_one()
    assert not connection.is_usable()
    connection.close()
    run_one()


def test_what_is_to_be_done_meanwhile_is_done_before_the_answer_to_a_claim_or_after_it() -> None:
    job, seen = added(), list[int]()
    meanwhile.calls.append(lambda: seen.append(connection.connection.pgconn.transaction_status))
    claim_many([job.pk], WORKER, DB)
    assert seen == [TransactionStatus.ACTIVE]
    with transaction.atomic():
        meanwhile.calls.append(lambda: seen.append(connection.connection.pgconn.transaction_status))
        claim_many([added().pk], WORKER, DB)
    assert seen == [TransactionStatus.ACTIVE, TransactionStatus.INTRANS]
