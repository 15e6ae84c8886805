"""A ledger's id: one for each database, and a new one for a copy."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
from django.core.management import call_command
from django.db import IntegrityError, connection, connections, transaction
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from django_bgtasks.ledger import identity
from django_bgtasks.models import Ledger
from django_bgtasks.transport.sender import senders
from django_bgtasks.worker.maintenance.ledger_identity import Identity
from tests.app.tasks import add
from tests.interfaces.rows import make_worker
from tests.named import namespace

pytestmark = pytest.mark.django_db(transaction=True)
DB = "default"


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """A process that has not asked yet."""
    identity.forget()
    yield
    identity.forget()


def test_all_who_ask_first_get_the_same_id() -> None:
    def ask(_: int) -> object:
        try:
            return identity.look(DB)
        finally:
            connections[DB].close()

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(ask, range(8)))) == 1
    assert Ledger.objects.count() == 1


def test_a_process_asks_the_database_once() -> None:
    identity.ledger_id(DB)
    with CaptureQueriesContext(connection) as queries:
        assert identity.ledger_id(DB) == identity.ledger_id(DB)
    assert not queries


def test_enqueuing_costs_no_further_statement(redis_client: redis.Redis) -> None:
    add.enqueue(1, 2)
    with CaptureQueriesContext(connection) as queries:
        add.enqueue(1, 2)
    assert len(queries) == 1


def test_what_a_rolled_back_transaction_has_read_is_not_remembered() -> None:
    with transaction.atomic():
        first = identity.ledger_id(DB)
        transaction.set_rollback(True)
    assert identity.ledger_id(DB) != first


def test_after_a_flush_of_the_tables_the_id_is_asked_for_again() -> None:
    before = identity.ledger_id(DB)
    call_command("flush", interactive=False, verbosity=0)
    assert identity.ledger_id(DB) != before
    assert Ledger.objects.count() == 1


def test_a_second_ledger_is_refused_by_the_database() -> None:
    identity.ledger_id(DB)
    with pytest.raises(IntegrityError), transaction.atomic():
        Ledger.objects.create(id=2, uuid=identity.ledger_id(DB), named_at=Now())


def test_a_ledger_that_is_met_elsewhere_is_a_copy_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    original = identity.ledger_id(DB)
    Ledger.objects.update(origins=["the place of the original"])
    with caplog.at_level(logging.WARNING):
        copy = identity.look(DB)
    row = identity.identity_of(DB)
    assert (copy != original, row.uuid, row.copied_from) == (True, copy, original)
    assert identity.short(original) in caplog.text
    assert identity.short(copy) in caplog.text
    assert identity.look(DB) == copy


def test_a_ledger_that_is_met_at_two_places_by_turns_keeps_its_name() -> None:
    """As behind a proxy that leads to one server or to another of the same cluster."""
    identity.ledger_id(DB)
    here = identity.identity_of(DB).origins
    Ledger.objects.update(origins=["another server"])
    named = identity.look(DB)
    assert identity.identity_of(DB).origins == ["another server", *here]
    assert identity.look(DB) == named


def test_of_two_that_rename_a_ledger_one_does() -> None:
    identity.ledger_id(DB)
    row = identity.identity_of(DB)
    first = identity.rename(row, "A test wants it so", DB).uuid
    assert identity.rename(row, "A test wants it so", DB).uuid == first


def test_a_process_that_doubts_the_id_asks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    old = identity.ledger_id(DB)
    new = identity.rename(identity.identity_of(DB), "A test wants it so", DB).uuid
    identity.doubt(DB)
    assert identity.ledger_id(DB) == old
    monkeypatch.setattr(identity, "DOUBT_EVERY", 0.0)
    identity.doubt(DB)
    assert identity.ledger_id(DB) == new


def enqueue_and_hear() -> None:
    """Enqueue a job, and wait for the answer to its message."""
    add.enqueue(1, 2)
    senders.flush(10)


def test_a_site_asks_again_when_no_worker_is_heard_of_under_the_name_it_knows(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "DOUBT_EVERY", 0.0)
    enqueue_and_hear()
    redis_client.set(namespace().marker_key, "here")
    enqueue_and_hear()
    with CaptureQueriesContext(connection) as queries:
        enqueue_and_hear()
        enqueue_and_hear()
    assert len(queries) == 2
    redis_client.delete(namespace().marker_key)
    enqueue_and_hear()
    new = identity.rename(identity.identity_of(DB), "A test wants it so", DB).uuid
    add.enqueue(1, 2)
    assert namespace().ledger == identity.short(new)
    assert redis_client.llen(namespace().list_key("default")) == 1


def register(client: redis.Redis, name: str) -> None:
    """A living RQ worker."""
    client.sadd("rq:workers", f"rq:worker:{name}")
    client.hset(f"rq:worker:{name}", "state", "idle")


def test_workers_of_an_unnoticed_copy_are_noticed_and_the_ledger_gets_another_name(
    redis_client: redis.Redis,
) -> None:
    """A snapshot of a whole server looks like the server itself."""
    task, named = Identity("default", DB), namespace()
    register(redis_client, named.worker(f"web1.7.{make_worker().pk.hex[-8:]}"))
    register(redis_client, "plain-rq")
    register(redis_client, "0badcafe:web9.8.12345678")
    redis_client.sadd("rq:workers", f"rq:worker:{named.worker('expired.9.12345678')}")
    for _ in range(3):
        task.run_once()
    assert namespace() == named
    register(redis_client, named.worker("web9.8.12345678"))
    task.run_once()
    assert namespace() == named
    task.run_once()
    assert namespace() != named
    assert str(identity.identity_of(DB).copied_from).endswith(named.ledger)
