"""A prepared statement of its own transaction: its rows are read before the commit is confirmed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest
from django.db import DataError, IntegrityError, OperationalError, connection

from django_bgtasks.ledger.statements import DIALECTS, meanwhile, run_prepared

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.postgres]
INSERT = "INSERT INTO refusing VALUES (%s::int) RETURNING number"


@pytest.fixture(autouse=True)
def _table_that_refuses_13_at_the_commit() -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE refusing (number int)")
        cursor.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " IF NEW.number = 13 THEN RAISE check_violation; END IF; RETURN NULL; END $$"
        )
        cursor.execute(
            "CREATE CONSTRAINT TRIGGER refusing_13 AFTER INSERT ON refusing"
            " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()"
        )
    yield
    connection.close()
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE refusing; DROP FUNCTION refuse")


def insert(number: object, make: Any = tuple) -> list[Any]:
    return run_prepared(INSERT, [str(number)], connection, make=make)


def stored() -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT number FROM refusing ORDER BY number")
        return [number for (number,) in cursor.fetchall()]


def test_what_the_commit_refuses_is_raised_though_its_rows_were_read() -> None:
    made: list[Any] = []
    assert insert(1, made.append) == [None]
    with pytest.raises(IntegrityError):
        insert(13, made.append)
    assert made == [(1,), (13,)]
    assert insert(2) == [(2,)]
    assert stored() == [1, 2]


def test_after_a_statement_that_is_refused_the_session_is_as_before() -> None:
    assert insert(1) == [(1,)]
    with pytest.raises(DataError, match="invalid input syntax"):
        insert("one")
    assert insert(2) == [(2,)]
    assert stored() == [1, 2]


def test_a_row_that_cannot_be_read_is_committed_and_the_session_is_as_before() -> None:
    def refuse(row: Any) -> None:
        raise ValueError(row)

    with pytest.raises(ValueError, match=r"\(1,\)"):
        insert(1, refuse)
    assert insert(2) == [(2,)]
    assert stored() == [1, 2]


class Stopped(Exception):
    """As a site's own handler of a signal raises it, or a time limit."""


def stop(signum: int, frame: FrameType | None) -> None:
    raise Stopped


def test_a_statement_that_is_interrupted_leaves_no_session_that_has_its_answer() -> None:
    assert insert(1) == [(1,)]
    before = signal.signal(signal.SIGUSR2, stop)
    meanwhile.calls.append(lambda: os.kill(os.getpid(), signal.SIGUSR2))
    try:
        with pytest.raises(Stopped):
            insert(2)
    finally:
        signal.signal(signal.SIGUSR2, before)
    with pytest.raises(OperationalError, match="closed"):
        insert(3)
    connection.close()
    assert insert(4) == [(4,)]
    assert {1, 4} <= set(stored()) <= {1, 2, 4}


def test_a_session_that_ends_meanwhile_is_lost_and_the_next_one_serves() -> None:
    assert insert(1) == [(1,)]
    end = "SELECT pg_terminate_backend(pg_backend_pid())"
    with pytest.raises(OperationalError):
        run_prepared(end, [], connection)
    connection.close()
    assert insert(2) == [(2,)]
    assert stored() == [1, 2]


@pytest.mark.parametrize(
    "values",
    [
        [],
        ["a", None, "NULL", ""],
        ['"', None],
        ["\\"],
        ['a"b', "{x}", "a,b", " c ", "d\ne", '\\"é'],
    ],
)
def test_an_array_arrives_as_it_is(values: list[str | None]) -> None:
    sql = "SELECT * FROM unnest((SELECT %s::text[]))"
    rows = run_prepared(sql, [DIALECTS["postgresql"].array(values)], connection)
    assert [value for (value,) in rows] == values
