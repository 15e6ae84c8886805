"""A message is made ready before its row is committed, and nothing of that stays behind."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import redis
from django.db import IntegrityError, connection, transaction
from pytest_django import Settings

from django_bgtasks.core.errors import JobTimeout
from django_bgtasks.jobs import enqueue
from django_bgtasks.ledger.lifecycle import insert
from django_bgtasks.ledger.statements import meanwhile
from django_bgtasks.models import Job
from django_bgtasks.transport.sender import Outgoing, Sender, senders
from testproject.servers import RedisServer
from tests.app.tasks import add
from tests.named import waiting_in

from .tasks import welcome

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def link(redis_client: redis.Redis) -> Iterator[None]:
    """The process has sent a message before; it is in no test's way."""
    add.enqueue(1, 2)
    senders.flush(10)
    redis_client.flushdb()
    Job.objects.all().delete()
    yield
    assert not meanwhile.calls


@pytest.fixture
def pushed(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each push whether it was ready."""
    found: list[bool] = []

    def noting(push: Callable[[Sender, Outgoing], Any]) -> Callable[[Sender, Outgoing], Any]:
        def note(sender: Sender, outgoing: Outgoing) -> Any:
            found.append(bool(outgoing.packed))
            return push(sender, outgoing)

        return note

    for name in ("push", "push_early"):
        monkeypatch.setattr(Sender, name, noting(getattr(Sender, name)))
    return found


def messages(client: redis.Redis) -> list[str]:
    """The ids of the messages in Redis."""
    senders.flush(10)
    raw: Any = client.lrange(waiting_in("default"), 0, -1)
    return [one.decode() for one in raw]


def calls(client: redis.Redis, command: str) -> int:
    """How often this Redis has run the command."""
    stat = client.info("commandstats").get(f"cmdstat_{command}")
    return stat["calls"] if stat else 0


@pytest.mark.postgres
def test_the_message_is_made_ready_before_the_database_has_answered(
    monkeypatch: pytest.MonkeyPatch, pushed: list[bool], redis_client: redis.Redis
) -> None:
    from psycopg.pq import TransactionStatus

    prepare, seen = Sender.prepare, list[int]()

    def note(*args: Any) -> Outgoing:
        seen.append(connection.connection.pgconn.transaction_status)
        return prepare(*args)

    monkeypatch.setattr(Sender, "prepare", note)
    job = add.enqueue(1, 2)
    assert (seen, pushed) == ([TransactionStatus.ACTIVE], [True])
    assert messages(redis_client) == [job.id]


def test_a_message_is_sent_once_whatever_way_its_row_has_gone(
    pushed: list[bool], redis_client: redis.Redis
) -> None:
    jobs = [add.enqueue(1, 2)]
    with transaction.atomic():
        jobs.append(add.enqueue(1, 2))
    with transaction.atomic():
        jobs += [add.enqueue(1, 2), add.enqueue(1, 2)]
    with connection.execute_wrapper(lambda execute, *args: execute(*args)):
        jobs.append(add.enqueue(1, 2))
    # What was made ready for one message is not for two.
    assert pushed[1:3] == [True, False]
    assert messages(redis_client) == [job.id for job in jobs]


def test_what_was_made_ready_in_a_transaction_goes_with_it(
    pushed: list[bool], redis_client: redis.Redis
) -> None:
    with transaction.atomic():
        add.enqueue(1, 2)
        transaction.set_rollback(True)
    with transaction.atomic():
        last = add.enqueue(1, 2)
        with suppress(ZeroDivisionError), transaction.atomic():
            add.enqueue(1, 2)
            raise ZeroDivisionError
    assert pushed == [True]
    assert messages(redis_client) == [last.id]


def test_a_link_that_is_lost_before_the_commit_is_made_anew(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if the transaction took longer than this.
    monkeypatch.setattr("django_bgtasks.transport.sender.READ_EVERY", 0.0)
    with transaction.atomic():
        first = add.enqueue(1, 2)
        redis_client.client_kill_filter(_type="normal", skipme=True)
    second = add.enqueue(1, 2)
    assert messages(redis_client) == [first.id, second.id]


def test_a_duplicate_and_a_row_that_is_refused_send_nothing(
    pushed: list[bool], redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = welcome.enqueue(7)
    assert welcome.enqueue(7).deduplicated
    job = Job.objects.get()
    monkeypatch.setattr("django_bgtasks.ledger.statements.clock.new_id", lambda: job.pk)
    with pytest.raises(IntegrityError):
        add.enqueue(1, 2)
    assert not meanwhile.calls
    assert len(pushed) == 1
    assert messages(redis_client) == [first.id]


def test_an_insert_that_is_repeated_sends_its_message_once(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[Job] = []

    def second_time(job: Job, using: str) -> bool:
        tries.append(job)
        return len(tries) > 1 and insert(job, using)

    def twice(write: Callable[[], bool], using: str) -> bool:
        return write() or write()

    monkeypatch.setattr(enqueue, "insert", second_time)
    monkeypatch.setattr(enqueue, "retry_on_conflict", twice)
    job = add.enqueue(1, 2)
    assert len(tries) == 2
    assert messages(redis_client) == [job.id]


def test_a_link_that_is_lost_by_then_is_made_anew(redis_client: redis.Redis) -> None:
    redis_client.client_kill_filter(_type="normal", skipme=True)
    job = add.enqueue(1, 2)
    assert messages(redis_client) == [job.id]


def test_a_link_that_is_lost_after_it_was_made_ready_is_made_anew(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = Sender.prepare

    def cut(sender: Sender, *args: Any) -> Outgoing:
        outgoing = prepare(sender, *args)
        assert sender._link is not None
        sender._link._socket.close()
        return outgoing

    monkeypatch.setattr(Sender, "prepare", cut)
    job = add.enqueue(1, 2)
    assert messages(redis_client) == [job.id]


@pytest.mark.sqlite
@pytest.mark.postgres
def test_what_was_made_ready_for_scripts_is_made_anew_for_a_redis_that_runs_none(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare, before = Sender.prepare, calls(redis_client, "eval")

    def forbid(sender: Sender, *args: Any) -> Outgoing:
        outgoing = prepare(sender, *args)
        assert sender._link is not None
        sender._link._by_script = False
        return outgoing

    monkeypatch.setattr(Sender, "prepare", forbid)
    job = add.enqueue(1, 2)
    assert messages(redis_client) == [job.id]
    assert calls(redis_client, "eval") == before


def test_what_goes_wrong_meanwhile_is_met_when_the_message_is_sent(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*args: Any) -> Outgoing:
        raise ValueError("meanwhile")

    monkeypatch.setattr(Sender, "prepare", breaks)
    job = add.enqueue(1, 2)
    assert messages(redis_client) == [job.id]


@pytest.mark.sqlite
def test_a_timeout_of_the_task_that_enqueues_is_raised_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def is_late(*args: Any) -> Outgoing:
        raise JobTimeout

    monkeypatch.setattr(Sender, "prepare", is_late)
    with pytest.raises(JobTimeout):
        add.enqueue(1, 2)
    assert not Job.objects.exists()


def test_what_a_thread_does_meanwhile_is_its_own() -> None:
    meanwhile.calls.append(lambda: None)
    others: list[int] = []
    thread = threading.Thread(target=lambda: others.append(len(meanwhile.calls)))
    thread.start()
    thread.join()
    assert others == [0]
    meanwhile.run()


@pytest.mark.postgres
@pytest.mark.timeout(60)
def test_a_log_that_is_kept_in_the_database_may_tell_that_redis_takes_nothing(
    own_redis: RedisServer, settings: Settings
) -> None:
    settings.CACHES = {"default": {**settings.CACHES["default"], "LOCATION": own_redis.url}}
    told: list[tuple[str, int]] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append((record.getMessage(), Job.objects.count()))

    add.enqueue(1, 2)
    senders.flush(10)
    with redis.Redis.from_url(own_redis.url) as client:
        client.config_set("maxmemory", 1)
    handler = Handler()
    logging.getLogger("django_bgtasks").addHandler(handler)
    try:
        while not told:
            # The answer to one message is read while the next row is written.
            add.enqueue(1, 2)
            senders.flush(0)
    finally:
        logging.getLogger("django_bgtasks").removeHandler(handler)
    [(text, count)] = told
    assert "used memory > 'maxmemory'" in text
    assert count == Job.objects.count()
