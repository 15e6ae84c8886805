"""Who gives a place to the first that waits reads a few rows, however many wait behind it."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.db import connection

from django_bgtasks.jobs.enqueue import without_dispatch
from django_bgtasks.ledger import statements
from django_bgtasks.ledger.admission import LANE, RATE, SOME_BEHIND, Kind, admit_sql
from django_bgtasks.ledger.lanes import (
    _line,
    admit,
    first_in_line,
    hand_on,
    keys_with_waiting,
)
from django_bgtasks.ledger.lifecycle import claim_many
from django_bgtasks.models import Job

from .tasks import apply_event, call_api, send_mail

pytestmark = pytest.mark.django_db
DB, TABLE = "default", Job._meta.db_table
WAITING = 5000


@pytest.fixture(autouse=True)
def _no_messages():  # type: ignore[no-untyped-def]
    with without_dispatch():
        yield


def fill(count: int = WAITING) -> None:
    """So many wait for one key, and some for others; within a transaction nobody has a place."""
    fill_one(count)
    call_api.enqueue_many([(f"other{number}", 0) for number in range(100)])
    apply_event.enqueue_many([("o", number) for number in range(count)])
    send_mail.enqueue_many([("a",)] * count)


def fill_one(count: int = WAITING) -> None:
    """All that there are wait for one key."""
    call_api.enqueue_many([("a", number) for number in range(count)])


def rows_read() -> int:
    """The rows of the jobs' table that this transaction has read so far."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = %s",
            [TABLE],
        )
        return int(cursor.fetchone()[0])


@pytest.mark.postgres
@pytest.mark.parametrize("is_known", [False, True])
def test_postgresql_reads_no_more_rows_of_a_long_line_than_it_lets_in(
    is_known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it has statistics of the table, or knows it as it was when it was empty."""
    monkeypatch.setattr(statements, "REPLAN_AFTER", -1.0)
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {TABLE} CASCADE")
        fill()
        if is_known:
            cursor.execute(f"ANALYZE {TABLE}")
    before = rows_read()
    assert len(admit(LANE, {"api:a": [], "order:o": [], "api:none": []}, DB)) == 3
    # Those that get places three times: in the line, to lock, and to write them.
    assert rows_read() - before < 30
    before = rows_read()
    assert len(admit(RATE, {"mail:a": [], "mail:none": []}, DB)) == 3
    assert rows_read() - before < 30


@pytest.mark.postgres
def test_postgresql_does_not_look_for_a_place_among_all_that_wait_for_the_same_key() -> None:
    fill_one()
    with connection.cursor() as cursor:
        cursor.execute(f"ANALYZE {TABLE}")
    before = rows_read()
    assert len(admit(LANE, {"api:a": [1]}, DB)) == 2
    assert rows_read() - before < 20


@pytest.mark.postgres
@pytest.mark.parametrize("is_known", [False, True])
def test_postgresql_reads_a_few_rows_to_hand_places_on(
    is_known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statements, "REPLAN_AFTER", -1.0)
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {TABLE} CASCADE")
        fill()
        if is_known:
            cursor.execute(f"ANALYZE {TABLE}")
    admit(LANE, {"api:a": [], "order:o": []}, DB)
    rows = Job.objects.filter(lane__in=["api:a", "order:o"], place=1)
    holders = claim_many(list(rows.values_list("pk", flat=True)), uuid4(), DB)
    before = rows_read()
    lines = first_in_line(["api:a", "order:o", "api:none"], DB)
    assert lines is not None
    heirs = {line.ids[0]: (lane, 1) for lane, line in lines.items()}
    assert len(hand_on([(job, None) for job in holders], heirs, DB).claimed) == len(heirs) == 2
    assert rows_read() - before < 20 + 2 * SOME_BEHIND


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_postgresql_goes_back_to_one_plan_when_a_line_has_become_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It compares what a plan costs with what others have cost while the table was small."""
    for count in (100, WAITING):
        fill_one(count)
        with connection.cursor() as cursor:
            cursor.execute(f"ANALYZE {TABLE}")
        with monkeypatch.context() as patch:
            patch.setattr(statements, "REPLAN_AFTER", -1.0)
            admit(LANE, {"api:a": []}, DB)
        for _look in range(10):
            admit(LANE, {"api:a": []}, DB)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE statement = %s",
            [admit_sql(LANE, "postgresql") % ("$1", "$2", "$3", "$4")],
        )
        [(generic, custom)] = cursor.fetchall()
    assert generic >= 5
    assert custom <= 6


@pytest.mark.postgres
def test_postgresql_has_one_plan_for_all_keys_and_does_not_compile_it() -> None:
    """Its costs are the same with each parameter, and far below those at which JIT begins."""
    fill()
    costs = []
    with connection.cursor() as cursor:
        cursor.execute(f"ANALYZE {TABLE}")
        for mode in ("force_custom_plan", "force_generic_plan"):
            cursor.execute(f"SET LOCAL plan_cache_mode = {mode}")
            numbered = admit_sql(LANE, "postgresql") % ("$1", "$2", "$3", "$4")
            cursor.execute(f"PREPARE look(text[], text[], text[], int[]) AS {numbered}")
            cursor.execute("EXPLAIN (FORMAT JSON) EXECUTE look('{api:a}', '{api}', '{}', '{}')")
            costs.append(cursor.fetchone()[0][0]["Plan"]["Total Cost"])
            cursor.execute("DEALLOCATE look")
    assert costs[0] == pytest.approx(costs[1])
    assert max(costs) < 50_000


@pytest.mark.sqlite
@pytest.mark.parametrize("is_known", [False, True])
def test_sqlite_finds_lines_and_places_by_their_indexes(is_known: bool) -> None:
    fill(500)
    with connection.cursor() as cursor:
        if is_known:
            cursor.execute("ANALYZE")
        statement = admit_sql(LANE, "sqlite").replace("%s", "NULL").replace("%%", "%")
        cursor.execute(f"EXPLAIN QUERY PLAN {statement}")
        plan = [row[3] for row in cursor.fetchall()]
    assert not [line for line in plan if line in (f"SCAN {TABLE}", "SCAN j", "SCAN h")]
    text = "\n".join(plan)
    in_line = "INDEX bgtasks_job_lane (lane=?"
    assert f"{in_line})" in text
    assert f"{in_line} AND (turn,enqueued_at)>(?,?))" in text
    assert "INDEX bgtasks_job_place (lane=? AND place=?)" in text


@pytest.mark.mysql
@pytest.mark.django_db(transaction=True)
def test_mariadb_finds_the_first_of_a_line_by_its_index() -> None:
    fill(500)
    with connection.cursor() as cursor:
        cursor.execute(f"ANALYZE TABLE {TABLE}")
        cursor.fetchall()
    plan = _line(LANE, "api:a", DB)[:5].explain()
    assert "bgtasks_job_lane" in plan
    assert "filesort" not in plan


@pytest.mark.parametrize("kind", [LANE, RATE])
def test_the_key_comes_first_in_an_index_that_has_only_those_that_wait_for_one(kind: Kind) -> None:
    """Before its release 18 PostgreSQL reads all of the index where another column comes first."""
    with connection.cursor() as cursor:
        indexes = connection.introspection.get_constraints(cursor, TABLE)
    columns = indexes[f"bgtasks_job_{kind.key}"]["columns"]
    rest = [kind.key, "turn", "enqueued_at", "id"]
    assert columns == rest if connection.vendor != "mysql" else ["waits_for", *rest]


def test_keys_that_wait_are_found_one_by_one() -> None:
    fill(50)
    first = keys_with_waiting(LANE, "", 3, DB)
    assert first == sorted(first)
    assert len(keys_with_waiting(LANE, "", 1000, DB)) == 102
