"""A Redis that is away, hangs, is full, only reads or is slow: jobs go on from the database."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import redis
from pytest_django import Settings

from testproject.servers import RedisServer
from tests.waiting import wait_until

from . import tasks
from .case import Case
from .outage import (
    AWAY,
    LATENCY,
    begun,
    goes_on,
    latency_of_one,
    lines_with,
    ran_once,
    returns,
    wait_registered,
    warm,
)
from .proxy import Proxy

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("no_traceback")]

LENGTHS = [pytest.param(6, id="6s"), pytest.param(30, id="30s", marks=pytest.mark.long)]


@pytest.fixture
def client(own_redis: RedisServer) -> Iterator[redis.Redis]:
    """A client of the private Redis, by no proxy."""
    with own_redis.client() as connected:
        yield connected


@pytest.fixture
def link(own_redis: RedisServer, settings: Settings) -> Iterator[Proxy]:
    """The network between Redis and all that use it, the site and its workers."""
    with Proxy(("127.0.0.1", own_redis.port)) as proxy:
        location = f"redis://{proxy.host}:{proxy.port}/0"
        cache = {**settings.CACHES["default"], "LOCATION": location}
        settings.CACHES = {**settings.CACHES, "default": cache}
        yield proxy


@pytest.mark.parametrize("seconds", LENGTHS)
def test_jobs_enqueued_while_redis_is_away_begin_within_2_s(
    case: Case, own_redis: RedisServer, seconds: float
) -> None:
    case.row("Redis", "Redis away for 6 s and 30 s while jobs are enqueued")
    worker = case.worker()
    warm(case)
    own_redis.kill()
    case.recovered(goes_on(case, seconds), within=LATENCY)
    assert lines_with(worker, AWAY) == 1
    with returns(case, own_redis, worker):
        own_redis.start()
    assert ran_once(case)


@pytest.mark.long
@pytest.mark.parametrize("seconds", LENGTHS)
def test_a_job_that_runs_while_redis_is_away_runs_once(
    case: Case, own_redis: RedisServer, seconds: float
) -> None:
    case.row("Redis", "Redis away for 6 s and 30 s while a job runs")
    worker = case.worker("--processes", 2)
    job = case.enqueue(tasks.wait_at_gate)
    begun(case, job)
    own_redis.kill()
    case.recovered(goes_on(case, seconds), within=LATENCY)
    with returns(case, own_redis, worker, processes=2):
        own_redis.start()
        case.effects.open_gate()
    assert case.job(job).claims == 1
    assert ran_once(case)


@pytest.mark.long
@pytest.mark.parametrize("seconds", LENGTHS)
def test_a_job_that_finishes_while_redis_is_away_is_settled_at_once_and_its_worker_stays(
    case: Case, own_redis: RedisServer, seconds: float
) -> None:
    case.row("Redis", "Redis away for 6 s and 30 s when a job finishes")
    worker = case.worker()
    job = case.enqueue(tasks.wait_at_gate)
    begun(case, job)
    own_redis.kill()
    case.effects.open_gate()
    with case.recovers(within=LATENCY):
        wait_until(lambda: case.job(job).state == "succeeded", 20)
    goes_on(case, seconds)
    with returns(case, own_redis, worker):
        own_redis.start()
    assert ran_once(case)


@pytest.mark.long
@pytest.mark.parametrize("seconds", [3, pytest.param(30, marks=pytest.mark.long)])
def test_a_connection_that_is_half_open_holds_up_no_job_for_long(
    case: Case, own_redis: RedisServer, link: Proxy, seconds: float
) -> None:
    case.row("Redis", "half-open connections to Redis for 3 s and 30 s")
    worker = case.worker()
    warm(case)
    link.silence()
    case.recovered(max(latency_of_one(case), goes_on(case, seconds)), within=LATENCY)
    with returns(case, own_redis, worker):
        link.silence(False)
    assert ran_once(case)


@pytest.mark.long
def test_a_job_that_finishes_on_a_half_open_connection_is_settled_at_once(
    case: Case, own_redis: RedisServer, link: Proxy
) -> None:
    case.row("Redis", "half-open connections to Redis when a job finishes")
    worker = case.worker()
    job = case.enqueue(tasks.wait_at_gate)
    begun(case, job)
    link.silence()
    case.effects.open_gate()
    with case.recovers(within=LATENCY):
        wait_until(lambda: case.job(job).state == "succeeded", 20)
    goes_on(case, 4)
    with returns(case, own_redis, worker):
        link.silence(False)
    assert ran_once(case)


@pytest.mark.long
def test_a_redis_that_pauses_its_clients_for_10_s_holds_up_no_job_for_long(
    case: Case, own_redis: RedisServer, client: redis.Redis
) -> None:
    case.row("Redis", "CLIENT PAUSE of 10 s")
    worker = case.worker()
    warm(case)
    with returns(case, own_redis, worker):
        client.client_pause(10_000)
        case.recovered(latency_of_one(case), within=LATENCY)
        case.recovered(goes_on(case, 6), within=LATENCY)
    assert lines_with(worker, AWAY) == 1
    assert ran_once(case)


def fill(client: redis.Redis) -> None:
    client.config_set("maxmemory", "1")


def empty(client: redis.Redis) -> None:
    client.config_set("maxmemory", "0")


def demote(client: redis.Redis) -> None:
    client.replicaof("127.0.0.1", 1)


def promote(client: redis.Redis) -> None:
    client.replicaof("NO", "ONE")


@pytest.mark.long
@pytest.mark.parametrize(
    ("injected", "refuse", "allow"),
    [
        pytest.param(
            "Redis out of memory (maxmemory)", fill, empty, id="full", marks=pytest.mark.long
        ),
        pytest.param("Redis demoted to a READONLY replica", demote, promote, id="readonly"),
    ],
)
@pytest.mark.parametrize("seconds", [2, pytest.param(20, marks=pytest.mark.long)])
def test_a_redis_that_takes_no_writes_is_one_that_is_away(
    case: Case,
    own_redis: RedisServer,
    client: redis.Redis,
    seconds: float,
    injected: str,
    refuse: Callable[[redis.Redis], None],
    allow: Callable[[redis.Redis], None],
) -> None:
    case.row("Redis", injected)
    worker = case.worker()
    warm(case)
    refuse(client)
    case.recovered(goes_on(case, seconds), within=LATENCY)
    assert lines_with(worker, AWAY) == 1
    with returns(case, own_redis, worker):
        allow(client)
    assert ran_once(case)


@pytest.mark.parametrize("delay", [0.05, pytest.param(0.1, marks=pytest.mark.long)])
def test_a_slow_network_slows_jobs_down_and_no_more(
    case: Case, own_redis: RedisServer, link: Proxy, delay: float
) -> None:
    case.row("Redis", "a network to Redis with a round trip of 0.1 s and 0.2 s")
    worker = case.worker()
    warm(case)
    link.delay = delay
    case.recovered(goes_on(case, 50 * delay), within=LATENCY)
    assert AWAY not in worker.output
    wait_registered(own_redis, worker)
    assert ran_once(case)


@pytest.mark.long
def test_a_network_too_slow_to_use_is_one_without_redis(
    case: Case, own_redis: RedisServer, link: Proxy
) -> None:
    case.row("Redis", "a network to Redis with a round trip of 4 s")
    worker = case.worker()
    warm(case)
    link.delay = 2.0
    case.recovered(goes_on(case, 15), within=LATENCY)
    with returns(case, own_redis, worker):
        link.delay = 0.0
    assert ran_once(case)
