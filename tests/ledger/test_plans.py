"""A claim and a settlement read the rows they are about, however many jobs wait beside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from django.db import connection

from django_bgtasks.core import clock
from django_bgtasks.core.states import Transition
from django_bgtasks.ledger import statements
from django_bgtasks.ledger.expiry import that_expire
from django_bgtasks.ledger.lifecycle import claim_many, insert_calls, settle_many
from django_bgtasks.ledger.statement_texts import claim_sql, settle_sql
from django_bgtasks.ledger.times import Now
from django_bgtasks.models import Job

from .rows import DB, added, new

pytestmark = pytest.mark.django_db
SQLITE = statements.DIALECTS["sqlite"]
WORKER = clock.new_id()
WAITING = 10_000


@pytest.fixture
def replanned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each statement is planned anew, as all are after a while."""
    monkeypatch.setattr(statements, "REPLAN_AFTER", -1.0)


def many(count: int) -> list[UUID]:
    """The ids of so many new jobs that wait."""
    calls: list[Any] = [(clock.new_id(), [], {}) for _ in range(count)]
    insert_calls(new(), calls, DB)
    return [job_id for job_id, _, _ in calls]


def run_some(ids: list[UUID]) -> None:
    """Claim and settle these jobs."""
    jobs = claim_many(ids, WORKER, DB)
    assert settle_many([(job, None) for job in jobs], DB) == set(ids)


def rows_read() -> int:
    """The rows of the jobs' table that this transaction has read so far."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = %s",
            [Job._meta.db_table],
        )
        return int(cursor.fetchone()[0])


@pytest.mark.long(after=1)
@pytest.mark.postgres
def test_a_plan_of_when_the_table_was_empty_does_not_read_all_that_waits_later(
    form: str, replanned: None
) -> None:
    with connection.cursor() as cursor:
        # As a new table; until the end of the test nobody can gather statistics, which would tell
        # of rows that only this transaction sees.
        cursor.execute(f"TRUNCATE {Job._meta.db_table} CASCADE")
    for _ in range(8):
        run_some([added().pk])
    ids = many(WAITING)
    before = rows_read()
    run_some(ids[:10])
    read = rows_read() - before
    assert 20 <= read < 100


@pytest.mark.postgres
def test_plans_are_made_anew_for_what_searches_and_not_each_time(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def look(execute, sql, params, many, context):  # type: ignore[no-untyped-def]
        seen.append(sql.split()[0])
        return execute(sql, params, many, context)

    run_some([added().pk])
    with connection.execute_wrapper(look):
        run_some([added().pk])
        monkeypatch.setattr(statements, "REPLAN_AFTER", -1.0)
        job = added()
        claim_many([job.pk], WORKER, DB)
    if form == "hot":
        assert seen == ["INSERT", "UPDATE", "UPDATE", "INSERT", "DISCARD", "UPDATE"]
    else:
        assert "DISCARD" not in seen


@pytest.mark.sqlite
@pytest.mark.postgres
def test_what_expires_is_found_by_its_index() -> None:
    many(500)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE" if connection.vendor == "sqlite" else "SET enable_seqscan = off")
    late = that_expire(DB).filter(expires_at__lte=Now(), state__in=Transition.EXPIRE.sources)
    for rows in (late, that_expire(DB).order_by("expires_at").values("pk")[:1]):
        assert "bgtasks_job_expires" in rows.explain()


@pytest.mark.sqlite
@pytest.mark.postgres
@pytest.mark.parametrize("state", ["running", "failed", "cancelled", "blocked"])
def test_the_newest_jobs_of_a_state_are_read_in_their_order_from_one_index(state: str) -> None:
    many(500)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE" if connection.vendor == "sqlite" else "SET enable_seqscan = off")
        if connection.vendor == "postgresql":
            cursor.execute("SET enable_bitmapscan = off")
    plan = Job.objects.filter(state=state).order_by("-id")[:50].explain()
    assert "bgtasks_job_state" in plan
    assert "sort" not in plan.lower()
    assert "temp b-tree" not in plan.lower()


@pytest.mark.sqlite
@pytest.mark.parametrize("sql_of", [claim_sql, settle_sql])
@pytest.mark.parametrize("analyzed", [False, True])
def test_sqlite_finds_each_row_by_its_id(sql_of: Callable[..., str], analyzed: bool) -> None:
    many(500)
    with connection.cursor() as cursor:
        if analyzed:
            cursor.execute("ANALYZE")
        statement = sql_of(SQLITE).replace("%s", "NULL").replace("%%", "%")
        cursor.execute(f"EXPLAIN QUERY PLAN {statement}")
        plan = " ".join(row[3] for row in cursor.fetchall())
    assert f"SEARCH {Job._meta.db_table} USING INDEX sqlite_autoindex" in plan
