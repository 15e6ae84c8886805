"""What the happy path costs: three SQL statements and at most 20 Redis commands."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext

from django_bgtasks.ledger.prepared import ATTRIBUTE
from django_bgtasks.models import Job
from django_bgtasks.transport.sender import senders
from django_bgtasks.worker.config import WorkerConfig
from django_bgtasks.worker.job_process import JobProcess
from django_bgtasks.worker.shared_state import SharedState
from tests.app.tasks import add
from tests.named import waiting_in
from tests.statements import statements
from tests.waiting import wait_until

from .tasks import welcome

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def process(redis_client: redis.Redis) -> Iterator[JobProcess]:
    """A job process of a worker that has registered and has run its first job."""
    worker = JobProcess(WorkerConfig("default", "default", queues=("default",)), SharedState())
    add.enqueue(1, 2)
    assert worker.step()
    yield worker
    worker.fetcher.leave()


def commands(client: redis.Redis) -> int:
    """How many commands this Redis has ever served, those that ask for it left out."""
    stats = client.info("commandstats")
    return sum(stat["calls"] for name, stat in stats.items() if name != "cmdstat_info")


@pytest.mark.parametrize("dedup", [False, True])
def test_a_job_costs_an_insert_a_claim_and_a_settlement(process: JobProcess, dedup: bool) -> None:
    if connection.vendor == "mysql":
        pytest.skip("there the claim locks and reads the row first")
    with CaptureQueriesContext(connection) as queries:
        result = welcome.enqueue(7) if dedup else add.enqueue(1, 2)
        assert process.step()
    assert Job.objects.get(pk=result.id).state == "succeeded"
    assert statements(queries) == ["insert", "update", "update"]


def test_between_a_message_and_its_job_there_is_the_claim_and_nothing_else(
    process: JobProcess, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    if connection.vendor == "mysql":
        pytest.skip("there the claim locks and reads the row first")
    statements_at_read: list[int] = []
    read = redis.Connection.read_response

    def read_and_note(*args: Any, **kwargs: Any) -> Any:
        answer = read(*args, **kwargs)
        if threading.current_thread() is waiting:
            statements_at_read.append(len(connection.queries_log))
        return answer

    def enqueue_when_it_waits() -> None:
        wait_until(lambda: redis_client.info("clients")["blocked_clients"])
        add.enqueue(1, 2)
        connections.close_all()

    waiting = threading.current_thread()
    with CaptureQueriesContext(connection) as queries:
        other = threading.Thread(target=enqueue_when_it_waits)
        monkeypatch.setattr(redis.Connection, "read_response", read_and_note)
        other.start()
        while not process.step():
            continue
    other.join()
    assert statements(queries)[-2:] == ["update", "update"]
    # The answer that brought the message is the last one from Redis.
    assert statements_at_read[-1] == len(connection.queries_log) - 2


@pytest.mark.postgres
def test_a_job_after_a_pause_does_not_wait_for_the_plan_of_its_claim(process: JobProcess) -> None:
    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        seen.append(sql.split(maxsplit=1)[0])
        return execute(sql, params, many, context)

    seen: list[str] = []
    getattr(connection.connection, ATTRIBUTE).planned = 0.0
    with connection.execute_wrapper(note):
        # It has time for it while there is none.
        while "DISCARD" not in seen:
            assert not process.step()
        seen.clear()
        add.enqueue(1, 2)
        while not process.step():
            continue
    assert seen[:1] == ["INSERT"]
    assert seen[-2:] == ["UPDATE", "UPDATE"]
    assert "DISCARD" not in seen


def test_a_session_that_a_task_has_not_used_is_not_asked_what_is_left_in_it(
    process: JobProcess,
) -> None:
    with CaptureQueriesContext(connection) as queries:
        for _ in range(2):
            result = add.enqueue(1, 2)
            assert process.step()
    assert Job.objects.get(pk=result.id).state == "succeeded"
    texts = [query["sql"] for query in queries]
    assert not [text for text in texts if "@@" in text or "UNLOCK" in text or "PRAGMA" in text]


def test_a_job_costs_at_most_20_redis_commands(
    process: JobProcess, redis_client: redis.Redis
) -> None:
    before = commands(redis_client)
    result = add.enqueue(1, 2)
    assert process.step()
    spent = commands(redis_client) - before
    assert Job.objects.get(pk=result.id).state == "succeeded"
    assert 1 <= spent <= 20


def test_redis_keeps_nothing_of_a_job_that_is_done(
    process: JobProcess, redis_client: redis.Redis
) -> None:
    before = set(redis_client.keys())
    for _ in range(3):
        add.enqueue(1, 2)
        assert process.step()
    assert len(redis_client.keys()) == len(before)
    # The last message goes with the next look for work.
    assert process.fetcher.fetch(lambda rq_queue: 1) == []
    assert set(redis_client.keys()) < before


def scripts(client: redis.Redis) -> int:
    """How many scripts this Redis has run. Nobody waits for a message but this."""
    senders.flush(10)
    stats = client.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("eval", "evalsha"))


def test_a_transaction_with_many_enqueues_pushes_them_in_one_command(
    redis_client: redis.Redis,
) -> None:
    add.enqueue(1, 2)
    before = scripts(redis_client)
    with transaction.atomic():
        results = [add.enqueue(number, 1) for number in range(50)]
        assert scripts(redis_client) == before
    assert scripts(redis_client) == before + 1
    waiting = redis_client.lrange(waiting_in("default"), 1, -1)
    assert waiting == [result.id.encode() for result in results]


def test_very_many_messages_do_not_hold_redis_up_in_one_command(redis_client: redis.Redis) -> None:
    first = add.enqueue(1, 2)
    before = scripts(redis_client)
    results = [first, *add.enqueue_many([(number, 1) for number in range(2500)])]
    assert scripts(redis_client) == before + 3
    waiting = redis_client.lrange(waiting_in("default"), 0, -1)
    assert waiting == [result.id.encode() for result in results]


def test_the_messages_of_jobs_that_were_deleted_go_many_at_a_time(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = JobProcess(WorkerConfig("default", "default", queues=("emails",)), SharedState())
    add.using(queue_name="emails").enqueue_many([(number, 1) for number in range(1000)])
    Job.objects.all().delete()
    # As if they had been sent longer ago.
    monkeypatch.setattr("django_bgtasks.transport.rq_worker.AHEAD_SECONDS", 0.0)
    with CaptureQueriesContext(connection) as queries:
        while redis_client.llen(waiting_in("emails")):
            assert process.step()
    assert len(queries) < 100
    process.fetcher.leave()
