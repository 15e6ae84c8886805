"""Nobody who enqueues waits for Redis, and what it does not get is found in the database."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis
from pytest_django import Settings

from django_bgtasks.core import clock
from django_bgtasks.models import Job
from django_bgtasks.transport.messages import Message
from django_bgtasks.transport.sender import Sender, senders
from django_bgtasks.worker.config import WorkerConfig
from django_bgtasks.worker.job_process import JobProcess
from django_bgtasks.worker.maintenance.redispatch import Redispatch
from django_bgtasks.worker.shared_state import SharedState
from testproject.servers import RedisServer
from tests.app.tasks import add
from tests.faults.proxy import Proxy
from tests.named import namespace, waiting_in
from tests.waiting import wait_until
from tests.workers import ROOT

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis_client")]
DB = "default"
UseRedis = Callable[[str], None]


@pytest.fixture
def use_redis(settings: Settings) -> UseRedis:
    """Say where Redis is."""

    def use(url: str) -> None:
        settings.CACHES = {"default": {**settings.CACHES["default"], "LOCATION": url}}

    return use


@pytest.fixture
def proxy(own_redis: RedisServer, use_redis: UseRedis) -> Iterator[Proxy]:
    """What stands between the site and its Redis."""
    with Proxy(("127.0.0.1", own_redis.port)) as proxy:
        use_redis(f"redis://127.0.0.1:{proxy.port}/0")
        yield proxy


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What has been warned of."""
    return lambda: [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]


def sent(server: RedisServer, db: int = 0) -> list[str]:
    """The ids of the messages that wait in Redis."""
    senders.flush(10)
    with redis.Redis.from_url(f"{server.url.removesuffix('/0')}/{db}") as client:
        return job_ids(client.lrange(waiting_in("default"), 0, -1))


def job_ids(raw: Any) -> list[str]:
    return [one.decode() for one in raw]


def messages(count: int = 1) -> list[Message]:
    return [Message(clock.new_id(), "default", 0, add.module_path) for _ in range(count)]


def send(count: int = 1) -> bool:
    return senders.of("default").send(messages(count), namespace(), DB)


def test_a_redis_that_falls_silent_holds_up_no_view_and_is_used_when_it_is_back(
    proxy: Proxy, own_redis: RedisServer, warnings: Callable[[], list[str]]
) -> None:
    first = add.enqueue(1, 2)
    assert sent(own_redis) == [first.id]
    proxy.silence()
    start = time.monotonic()
    for _ in range(100):
        add.enqueue(1, 2)
    # A wait of a second for each would be more than a minute.
    assert time.monotonic() - start < 30
    wait_until(lambda: not send())
    for _ in range(3):
        add.enqueue(1, 2)
    assert len(warnings()) == 1
    proxy.silence(False)

    def arrives() -> bool:
        return add.enqueue(1, 2).id in sent(own_redis)

    wait_until(arrives, 20)
    assert len(warnings()) == 1


def test_no_view_waits_for_the_handshake_of_a_redis_that_hangs_but_the_first(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django_bgtasks.transport.sender.CONNECT_SECONDS", 0.05)
    monkeypatch.setattr("django_bgtasks.transport.sender.PAUSE_SECONDS", 0.0)
    proxy.silence()
    start = time.monotonic()
    for _ in range(200):
        add.enqueue(1, 2)
    assert time.monotonic() - start < 30
    assert Job.objects.filter(state="queued").count() == 200


def test_what_waits_for_a_connection_is_bounded_and_sent_when_it_is_there(
    proxy: Proxy, own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django_bgtasks.transport.sender.CONNECT_SECONDS", 0.0)
    monkeypatch.setattr("django_bgtasks.transport.sender.MOST", 5)
    proxy.silence()
    sender = Sender("default")
    assert [sender.send(messages(2), namespace(), DB) for _ in range(4)] == [
        True,
        True,
        False,
        False,
    ]
    proxy.silence(False)
    sender.flush(10)
    assert len(sent(own_redis)) == 4


def test_more_than_a_redis_that_does_not_read_takes_is_left_to_maintenance(
    proxy: Proxy, own_redis: RedisServer, warnings: Callable[[], list[str]]
) -> None:
    assert send()
    proxy.silence()
    wait_until(lambda: not send(50_000) and warnings(), 30)
    assert len(warnings()) == 1
    assert "is away (Timeout" in warnings()[0]


def test_what_a_lost_connection_may_have_lost_is_sent_again_with_the_next_message(
    proxy: Proxy, own_redis: RedisServer
) -> None:
    first = add.enqueue(1, 2)
    assert sent(own_redis) == [first.id]
    proxy.silence()
    lost = add.enqueue(1, 2)
    proxy.cut()
    proxy.silence(False)
    last = add.enqueue(1, 2)
    assert sent(own_redis) == [first.id, lost.id, last.id]


def test_each_message_that_a_cut_connection_loses_is_sent_again_by_maintenance(
    proxy: Proxy, own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django_bgtasks.transport.sender.PAUSE_SECONDS", 0.0)
    chance, ids = random.Random(13), set()
    for _ in range(100):
        ids.add(add.enqueue(1, 2).id)
        if not chance.randrange(4):
            proxy.cut()
    arrived = set(sent(own_redis))
    assert arrived
    Redispatch("default", DB).run_once()
    assert set(sent(own_redis)) == ids


def test_a_job_whose_message_died_with_redis_before_the_answer_runs_all_the_same(
    own_redis: RedisServer,
) -> None:
    add.enqueue(1, 2)
    senders.flush(10)
    assert own_redis.process is not None
    os.kill(own_redis.process.pid, signal.SIGSTOP)
    lost = add.enqueue(1, 2)
    own_redis.kill()
    own_redis.start()
    assert sent(own_redis) == []
    assert Redispatch("default", DB).run_once() == 2
    process = JobProcess(WorkerConfig("default", "default", queues=("default",)), SharedState())
    while process.step() and Job.objects.filter(state="queued").exists():
        continue
    assert Job.objects.get(pk=lost.id).state == "succeeded"
    process.fetcher.leave()


@pytest.mark.parametrize("kind", ["full", "replica"])
def test_a_refusal_is_said_once_and_its_end_is_noticed(
    kind: str, own_redis: RedisServer, warnings: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("django_bgtasks.transport.sender.PAUSE_SECONDS", 0.0)
    ways = {
        "full": (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
        "replica": (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
    }
    refuse, allow = ways[kind]
    assert send()
    with own_redis.client() as client:
        client.execute_command(*refuse)
        for _ in range(5):
            add.enqueue(1, 2)
            senders.flush(10)
        [warning] = warnings()
        assert "The job is stored" in warning
        client.execute_command(*allow)

    def arrives() -> bool:
        return add.enqueue(1, 2).id in sent(own_redis)

    wait_until(arrives, 20)


def test_scripts_that_are_forbidden_later_are_done_without(own_redis: RedisServer) -> None:
    first = messages()
    assert senders.of("default").send(first, namespace(), DB)
    senders.flush(10)
    with own_redis.client() as client:
        client.execute_command("ACL", "SETUSER", "default", "-@scripting")
        second, third = messages(3), messages()
        for some in (second, third):
            assert senders.of("default").send(some, namespace(), DB)
    assert set(sent(own_redis)) == {str(one.job_id) for one in (*first, *second, *third)}


def test_a_fork_has_a_connection_of_its_own(redis_client: redis.Redis) -> None:
    assert send()
    pid = os.fork()
    if not pid:
        try:
            os._exit(0 if all(send() for _ in range(20)) else 1)
        finally:
            senders.flush(10)
            os._exit(2)
    for _ in range(20):
        assert send()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    senders.flush(10)
    wait_until(lambda: redis_client.llen(waiting_in("default")) == 41)


def test_50_threads_share_one_connection(redis_client: redis.Redis) -> None:
    name, ready, before = namespace(), threading.Barrier(50), len(redis_client.client_list())

    def enqueue(_: int) -> list[str]:
        ready.wait()
        made = messages(20)
        for message in made:
            assert senders.of("default").send([message], name, DB)
        return [str(message.job_id) for message in made]

    with ThreadPoolExecutor(50) as pool:
        ids = [one for some in pool.map(enqueue, range(50)) for one in some]
    senders.flush(10)
    arrived = job_ids(redis_client.lrange(waiting_in("default"), 0, -1))
    assert sorted(arrived) == sorted(ids)
    assert len(redis_client.client_list()) <= before + 1


def test_a_process_that_ends_at_once_has_sent_its_messages(
    worker_env: dict[str, str], redis_client: redis.Redis
) -> None:
    script = (
        "import django; django.setup()\n"
        "from tests.app.tasks import add\n"
        "for number in range(50): add.enqueue(number, 1)"
    )
    command = [sys.executable, "-c", script]
    subprocess.run(command, env=worker_env, cwd=ROOT, check=True, timeout=60)
    assert redis_client.llen(waiting_in("default")) == 50


@pytest.mark.parametrize("way", ["socket", "password", "resp3"])
def test_each_way_to_redis_is_used(way: str, use_redis: UseRedis, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with RedisServer(password="secret", config={"unixsocket": str(path)}) as server:
        urls = {
            "socket": f"unix://:secret@{path}?db=3",
            "password": server.url.removesuffix("/0") + "/3",
            "resp3": server.url.removesuffix("/0") + "/3?protocol=3",
        }
        use_redis(urls[way])
        results = [add.enqueue(number, 1) for number in range(3)]
        assert sent(server, 3) == [result.id for result in results]
