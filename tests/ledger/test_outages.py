"""What an error of the database means, and how often who is told it tries again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError, connection, connections, transaction

from django_bgtasks.ledger import connection as ledger_connection
from django_bgtasks.ledger.connection import retry_on_conflict, retry_until_connected

from .rows import DB

with_commits = pytest.mark.django_db(transaction=True)


class Refusal(Exception):
    """What a driver raises."""

    def __init__(self, *args: Any, **attributes: Any) -> None:
        super().__init__(*args)
        self.__dict__.update(attributes)


IN_THE_WAY = [
    *(Refusal(sqlstate=state) for state in ("40001", "40P01", "55P03")),
    *(Refusal(pgcode=state) for state in ("40001", "40P01")),
    *(Refusal(number, "in the way") for number in (1213, 1205, 1020)),
    *(Refusal(sqlite_errorcode=code) for code in (5, 6, 517)),
]
LOCK_WAITS = [Refusal(sqlstate="55P03"), Refusal(1205, "x"), Refusal(sqlite_errorcode=5)]
OTHERS = [Refusal(sqlstate="57P01"), Refusal(2006, "gone"), Refusal(sqlite_errorcode=13)]


def failing(cause: Exception, times: int) -> Callable[[], int]:
    """A write that fails so often for this cause, and then tells how often it was called."""
    calls = [0]

    def write() -> int:
        calls[0] += 1
        if calls[0] <= times:
            raise OperationalError("no") from cause
        return calls[0]

    return write


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits between two tries."""
    monkeypatch.setattr(ledger_connection, "LAST_WAIT", 0.0)
    monkeypatch.setattr(ledger_connection, "FIRST_WAIT", 0.0)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("cause", IN_THE_WAY, ids=repr)
def test_what_others_were_in_the_way_of_is_tried_again_and_not_for_ever(cause: Exception) -> None:
    assert retry_on_conflict(failing(cause, 3), DB) == 4
    write = failing(cause, 1000)
    with pytest.raises(OperationalError):
        retry_on_conflict(write, DB)
    assert retry_on_conflict(failing(cause, 0), DB) == 1
    with pytest.raises(OperationalError):
        write()


@pytest.mark.parametrize("cause", OTHERS, ids=repr)
def test_every_other_error_is_raised_at_once(cause: Exception) -> None:
    with pytest.raises(OperationalError):
        retry_on_conflict(failing(cause, 1), DB)


@with_commits
@pytest.mark.parametrize("cause", IN_THE_WAY, ids=repr)
def test_in_a_transaction_the_error_is_that_of_who_began_it(cause: Exception) -> None:
    with transaction.atomic(), pytest.raises(OperationalError):
        retry_on_conflict(failing(cause, 1), DB)
    with transaction.atomic(), pytest.raises(OperationalError):
        retry_until_connected(failing(cause, 1), DB)


@with_commits
def test_who_commits_by_hand_is_in_a_transaction() -> None:
    connection.set_autocommit(False)
    try:
        with pytest.raises(OperationalError):
            retry_on_conflict(failing(IN_THE_WAY[0], 1), DB)
    finally:
        connection.rollback()
        connection.set_autocommit(True)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("cause", LOCK_WAITS, ids=repr)
def test_maintenance_does_not_wait_for_a_lock_twice(
    cause: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_connection, "WITHOUT_LOCK_RETRIES", {connections[DB]})
    with pytest.raises(OperationalError):
        retry_on_conflict(failing(cause, 1), DB)
    assert retry_on_conflict(failing(IN_THE_WAY[0], 1), DB) == 2


def test_who_has_waited_for_long_is_told_after_one_more_try(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ledger_connection, "LONGEST_TRY", -1.0)
    with pytest.raises(OperationalError):
        retry_on_conflict(failing(LOCK_WAITS[0], 1), DB)


@with_commits
@pytest.mark.usefixtures("at_once")
def test_a_worker_goes_on_without_a_new_connection(caplog: pytest.LogCaptureFixture) -> None:
    connection.ensure_connection()
    session = connection.connection
    assert retry_until_connected(failing(IN_THE_WAY[0], 3), DB) == 4
    assert connection.connection is session
    assert not caplog.records
