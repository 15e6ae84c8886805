"""A message is sent while the row of its job is committed: a worker may be there before the row."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
import redis
from django.db import IntegrityError, connection, connections

from django_bgtasks import cancel_job
from django_bgtasks.core.states import State
from django_bgtasks.ledger.prepared import ATTRIBUTE
from django_bgtasks.models import Job
from django_bgtasks.transport.messages import AHEAD_SECONDS, MESSAGE_SECONDS, message_key
from django_bgtasks.transport.queues import mark
from django_bgtasks.transport.rq_worker import RQWorker
from django_bgtasks.transport.sender import Outgoing, Sender, senders
from django_bgtasks.worker.config import WorkerConfig
from django_bgtasks.worker.job_process import JobProcess
from django_bgtasks.worker.shared_state import SharedState
from tests.app.tasks import add
from tests.named import namespace, waiting_in
from tests.waiting import wait_until

pytestmark = [
    # Where the rows come before the end of the commit.
    pytest.mark.postgres,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("no_middleware"),
]
Commits = Callable[..., None]
Enqueue = Callable[[], "Future[Any]"]


@pytest.fixture(autouse=True)
def commits() -> Iterator[Commits]:
    """Say how long the next commits of jobs take, or that they are refused."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE commits (seconds float, refused bool)")
        cursor.execute(
            "CREATE FUNCTION commits() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " PERFORM pg_sleep(seconds) FROM commits;"
            " IF (SELECT refused FROM commits) THEN RAISE check_violation; END IF;"
            " RETURN NULL; END $$"
        )
        cursor.execute(
            f"CREATE CONSTRAINT TRIGGER commits AFTER INSERT ON {Job._meta.db_table}"
            " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION commits()"
        )

    def take(seconds: float, refused: bool = False) -> None:
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM commits")
            cursor.execute("INSERT INTO commits VALUES (%s, %s)", [seconds, refused])

    yield take
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TRIGGER commits ON {Job._meta.db_table}")
        cursor.execute("DROP FUNCTION commits; DROP TABLE commits")


@pytest.fixture
def enqueue() -> Iterator[Enqueue]:
    """Enqueue in another thread, in a session whose last commit was short."""

    def call() -> Any:
        add.enqueue(1, 2)
        getattr(connection.connection, ATTRIBUTE).commit = 0.0

    with ThreadPoolExecutor(1) as thread:
        thread.submit(call).result(20)
        senders.flush(10)
        Job.objects.all().delete()
        yield lambda: thread.submit(lambda: add.enqueue(1, 2))
        thread.submit(connections.close_all).result(20)


@pytest.fixture
def process(redis_client: redis.Redis, enqueue: Enqueue) -> Iterator[JobProcess]:
    """A job process of a worker, with nothing to do."""
    redis_client.flushdb()
    mark(namespace(), "", redis_client)
    process = JobProcess(WorkerConfig("default", "default", queues=("default",)), SharedState())
    process.step()
    yield process
    process.fetcher.leave()


@pytest.fixture
def claims(process: JobProcess, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Of each claim: of how many messages, and how many jobs."""
    found: list[tuple[int, int]] = []
    claim = JobProcess._claim

    def note(process: JobProcess, ids: list[UUID]) -> list[Job]:
        jobs = claim(process, ids)
        found.append((len(ids), len(jobs)))
        return jobs

    monkeypatch.setattr(JobProcess, "_claim", note)
    return found


@pytest.fixture
def early(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each message that was sent early whether somebody else saw the row."""
    found: list[bool] = []
    push_early = Sender.push_early

    def note(sender: Sender, outgoing: Outgoing) -> bool:
        is_sent = push_early(sender, outgoing)
        with ThreadPoolExecutor(1) as thread:
            found.append(thread.submit(is_there).result(20))
        return is_sent

    def is_there() -> bool:
        try:
            return Job.objects.exists()
        finally:
            connection.close()

    monkeypatch.setattr(Sender, "push_early", note)
    return found


def messages(client: redis.Redis) -> list[str]:
    """The ids of the messages in Redis."""
    raw: Any = client.lrange(waiting_in("default"), 0, -1)
    return [one.decode() for one in raw]


def keys(client: redis.Redis) -> list[Any]:
    """What Redis holds of messages."""
    return [*client.scan_iter(message_key("*"))]


def run_until(process: JobProcess, is_enough: Callable[[], bool]) -> None:
    def step() -> bool:
        process.step()
        return is_enough()

    wait_until(step, 20, "enough has run")


def test_a_message_comes_once_and_before_its_row_is_committed(
    commits: Commits, enqueue: Enqueue, early: list[bool], redis_client: redis.Redis
) -> None:
    redis_client.flushdb()
    commits(0.1)
    job = enqueue().result(20)
    senders.flush(10)
    assert early == [False]
    assert messages(redis_client) == [job.id]


def test_a_worker_that_comes_before_the_commit_looks_again_until_there_is_the_row(
    commits: Commits, enqueue: Enqueue, process: JobProcess, claims: list[tuple[int, int]]
) -> None:
    commits(0.1)
    job = enqueue()
    run_until(process, lambda: (1, 1) in claims)
    assert claims[0] == (1, 0)
    assert Job.objects.get(pk=job.result(20).id).state == State.SUCCEEDED


def test_a_worker_gives_up_and_gets_the_message_again_when_the_commit_took_longer(
    commits: Commits,
    enqueue: Enqueue,
    process: JobProcess,
    claims: list[tuple[int, int]],
    redis_client: redis.Redis,
) -> None:
    commits(AHEAD_SECONDS + 1.5)
    job = enqueue()
    run_until(process, lambda: bool(claims) and not keys(redis_client))
    assert not job.done()
    run_until(process, job.done)
    run_until(process, lambda: (1, 1) in claims)
    assert Job.objects.get(pk=job.result().id).state == State.SUCCEEDED


def test_a_commit_that_is_refused_leaves_no_message(
    commits: Commits,
    enqueue: Enqueue,
    process: JobProcess,
    claims: list[tuple[int, int]],
    redis_client: redis.Redis,
) -> None:
    commits(0.05, refused=True)
    job = enqueue()
    with pytest.raises(IntegrityError):
        job.result(20)
    run_until(process, lambda: bool(claims) and not keys(redis_client))
    assert {found for _, found in claims} == {0}
    assert not Job.objects.exists()


def test_after_a_commit_that_took_long_messages_wait_for_theirs(
    commits: Commits, enqueue: Enqueue, early: list[bool], redis_client: redis.Redis
) -> None:
    redis_client.flushdb()
    commits(0.05)
    jobs = [enqueue().result(20), enqueue().result(20)]
    assert early == [False]
    senders.flush(10)
    assert messages(redis_client) == [job.id for job in jobs]


def test_what_is_claimed_with_a_message_ahead_of_its_row_runs_first(
    commits: Commits,
    enqueue: Enqueue,
    process: JobProcess,
    claims: list[tuple[int, int]],
    redis_client: redis.Redis,
) -> None:
    # So it knows that jobs of this queue are short, and takes several.
    first = [enqueue().result(20) for _ in range(2)]
    run_until(process, lambda: sum(found for _, found in claims) == len(first))
    claims.clear()
    add.enqueue(1, 2)
    senders.flush(10)
    commits(0.15)
    late = enqueue()
    wait_until(lambda: len(messages(redis_client)) == 2, 20, "both messages are there")
    run_until(process, lambda: sum(found for _, found in claims) == 2)
    assert claims[:2] == [(2, 1), (1, 0)]
    assert Job.objects.get(pk=late.result(20).id).state == State.SUCCEEDED


@pytest.mark.parametrize("what", ["cancelled", "deleted"])
def test_a_message_whose_job_is_gone_is_dropped_at_once(
    what: str,
    enqueue: Enqueue,
    process: JobProcess,
    claims: list[tuple[int, int]],
    redis_client: redis.Redis,
) -> None:
    job = enqueue().result(20)
    senders.flush(10)
    if what == "cancelled":
        cancel_job(job.id)
    else:
        Job.objects.all().delete()
        redis_client.expire(message_key(job.id), MESSAGE_SECONDS - 1)
    run_until(process, lambda: bool(claims))
    assert claims == [(1, 0)]
    assert not messages(redis_client)


def test_what_goes_wrong_while_the_row_is_committed_is_met_by_the_message_after_that(
    commits: Commits,
    enqueue: Enqueue,
    redis_client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def breaks(*args: Any) -> None:
        raise ValueError("early")

    redis_client.flushdb()
    monkeypatch.setattr(Sender, "push_early", breaks)
    commits(0.0)
    job = enqueue().result(20)
    senders.flush(10)
    assert messages(redis_client) == [job.id]
    assert Job.objects.get().pk == UUID(job.id)


@pytest.mark.parametrize("by", ["us", "redis"])
def test_a_link_that_is_lost_while_the_row_is_committed_is_made_anew(
    by: str,
    commits: Commits,
    enqueue: Enqueue,
    redis_client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    push_early, ready = Sender.push_early, list[bool]()

    def cut(sender: Sender, outgoing: Outgoing) -> bool:
        if by == "us":
            assert sender._link is not None
            sender._link._socket.close()
        else:
            redis_client.client_kill_filter(_type="normal", skipme=True)
            # As if the statement had waited for a lock meanwhile.
            time.sleep(0.05)
        ready.append(push_early(sender, outgoing))
        return ready[-1]

    redis_client.flushdb()
    monkeypatch.setattr(Sender, "push_early", cut)
    commits(0.0)
    job = enqueue().result(20)
    senders.flush(10)
    assert ready == [False]
    assert messages(redis_client) == [job.id]


def test_a_worker_that_is_held_up_before_it_gives_up_looks_once_more(
    commits: Commits,
    enqueue: Enqueue,
    process: JobProcess,
    claims: list[tuple[int, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ahead = RQWorker.ahead

    def hold_up(worker: RQWorker, ids: list[UUID], looked_at: float) -> list[UUID]:
        time.sleep(AHEAD_SECONDS + 0.1)
        return ahead(worker, ids, looked_at)

    monkeypatch.setattr(RQWorker, "ahead", hold_up)
    commits(0.05)
    job = enqueue()
    run_until(process, lambda: len(claims) > 1)
    assert claims == [(1, 0), (1, 1)]
    assert Job.objects.get(pk=job.result(20).id).state == State.SUCCEEDED


def test_a_job_that_has_expired_is_not_looked_for_again(
    process: JobProcess, claims: list[tuple[int, int]]
) -> None:
    add.using(expires=0.02).enqueue(1, 2)
    senders.flush(10)
    time.sleep(0.05)
    run_until(process, lambda: bool(claims))
    process.step()
    assert claims == [(1, 0)]


def test_a_handler_of_logs_that_raises_does_not_undo_what_is_committed(
    commits: Commits, enqueue: Enqueue, redis_client: redis.Redis
) -> None:
    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise ValueError(record.getMessage())

    redis_client.flushdb()
    commits(0.0)
    handler, logger = Handler(), logging.getLogger("django_bgtasks.dispatch")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        redis_client.client_kill_filter(_type="normal", skipme=True)
        job = enqueue().result(20)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
    senders.flush(10)
    assert messages(redis_client) == [job.id]
