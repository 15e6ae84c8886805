"""No lock of a host that stands still holds up maintenance, nor does maintenance that stands still
others.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.db import DatabaseError, OperationalError, connections, transaction
from django.db.backends.signals import connection_created

from django_bgtasks.core import clock
from django_bgtasks.ledger import connection, lock_timeouts
from django_bgtasks.ledger.lifecycle import ledger_database
from django_bgtasks.ledger.workers import call_dead
from django_bgtasks.models import Worker
from tests.interfaces.rows import make_worker
from tests.threads import in_threads
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("transactional_db")


@pytest.fixture
def silent(transactional_db: None) -> Worker:
    """A worker that was not heard of for a minute."""
    ago = clock.now() - timedelta(minutes=1)
    return make_worker(started_at=ago, last_seen_at=ago)


@pytest.fixture(autouse=True)
def limited() -> Iterator[None]:
    """Connections that are made in the test are like maintenance's."""
    lock_timeouts.limit_waits()
    yield
    connection_created.disconnect(dispatch_uid="django_bgtasks.lock_timeouts")
    # The tests after this one have the same objects for their connections.
    connection.WITHOUT_LOCK_RETRIES.clear()
    connections.close_all()


@contextmanager
def locked_by_another(row: Worker, until: Callable[[], bool]) -> Iterator[list[Exception]]:
    """Somebody locks the row and stands still; what became of his transaction."""
    locked, raised = threading.Event(), list[Exception]()

    def stand_still() -> None:
        try:
            with transaction.atomic(ledger_database()):
                Worker.objects.select_for_update().get(pk=row.pk)
                locked.set()
                wait_until(until, timeout=30)
        except DatabaseError as error:
            raised.append(error)

    thread = threading.Thread(target=lambda: in_threads(stand_still))
    thread.start()
    assert locked.wait(10)
    yield raised
    thread.join(30)


def call_dead_in_a_connection_of_its_own() -> int:
    [called] = in_threads(lambda: call_dead(10.0, ledger_database()))
    return called


# SQLite has one writer: whoever holds its lock stops all.
@pytest.mark.postgres
@pytest.mark.mysql
def test_a_duty_that_waits_for_a_lock_gives_up_and_has_its_next_turn(
    silent: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_timeouts, "LOCK_SECONDS", 1)
    over = threading.Event()
    with locked_by_another(silent, until=over.is_set) as raised:
        with pytest.raises(OperationalError, match=r"(?i)lock (wait )?timeout"):
            call_dead_in_a_connection_of_its_own()
        over.set()
    assert not raised
    assert call_dead_in_a_connection_of_its_own() == 1


# SQLite has one writer: whoever holds its lock stops all.
@pytest.mark.postgres
@pytest.mark.mysql
def test_the_database_ends_a_transaction_of_maintenance_that_stands_still(
    silent: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_timeouts, "LOCK_SECONDS", 20)
    monkeypatch.setattr(lock_timeouts, "IDLE_SECONDS", 1)
    over = threading.Event()
    with locked_by_another(silent, until=over.is_set) as raised:
        assert call_dead_in_a_connection_of_its_own() == 1
        over.set()
    assert len(raised) == 1


@pytest.mark.postgres
def test_behind_a_pooler_the_session_is_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is others' too."""
    connection = connections[ledger_database()]
    before = connection.settings_dict
    monkeypatch.setattr(
        connection, "settings_dict", {**before, "DISABLE_SERVER_SIDE_CURSORS": True}
    )
    connection.close()
    with connection.cursor() as cursor:
        cursor.execute("SHOW lock_timeout")
        assert cursor.fetchone() == ("0",)
    connection.close()
