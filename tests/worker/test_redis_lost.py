"""Redis that is emptied, gone, back, or closed to us: the ledger knows what there is to do."""

from __future__ import annotations

import pytest
from pytest_django import Settings

from django_bgtasks.jobs import enqueue
from django_bgtasks.worker.config import WorkerConfig
from django_bgtasks.worker.job_process import JobProcess
from django_bgtasks.worker.once_flag import OnceFlag
from django_bgtasks.worker.shared_state import SharedState
from testproject.servers import RedisServer
from tests.named import namespace
from tests.waiting import wait_until
from tests.workers import WorkerFactory, WorkerProcess

from . import tasks
from .conftest import Effects
from .jobs import row, wait_for_state

pytestmark = pytest.mark.faults

AWAY = "is away"
LATENCY = 2.0


def lines_with(worker: WorkerProcess, text: str) -> list[str]:
    return [line for line in worker.output.splitlines() if text in line]


def latency_of(job: object, within: float = 5) -> float:
    done = wait_for_state(job, "succeeded", timeout=within)
    assert done.started_at is not None
    return (done.started_at - done.enqueued_at).total_seconds()


def test_a_worker_says_once_that_redis_went_works_on_and_returns_to_it(
    bgworker: WorkerFactory, own_redis: RedisServer, effects: Effects
) -> None:
    worker = bgworker()
    wait_for_state(tasks.record.enqueue(str(effects), "warm"), "succeeded")
    own_redis.kill()
    worker.wait_for(AWAY)
    meanwhile = [tasks.record.enqueue(str(effects), str(number)) for number in range(3)]
    assert max(latency_of(job) for job in meanwhile) < LATENCY
    assert lines_with(worker, "Jobs go on from the database.") == lines_with(worker, AWAY)
    assert len(lines_with(worker, AWAY)) == 1
    own_redis.start()
    worker.wait_for("is back.")
    with own_redis.client() as client:
        wait_until(lambda: client.scard("rq:workers") == 1)
        wait_until(lambda: client.exists(namespace().marker_key))
    # The site's process spares a Redis that did not answer for two seconds.
    assert latency_of(tasks.record.enqueue(str(effects), "after")) < LATENCY
    assert "Traceback" not in worker.output
    assert worker.stop() == 0
    assert effects.texts == ["warm", "0", "1", "2", "after"]


@pytest.mark.usefixtures("transactional_db")
def test_the_process_that_notices_first_says_it_for_all_however_busy_the_others_are(
    own_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    once_flag, one = OnceFlag(), lambda rq_queue: 1
    busy, idle, third = (
        JobProcess(WorkerConfig("default", "default"), SharedState(), once_flag) for _ in range(3)
    )
    assert [process.fetcher.fetch(one) for process in (busy, idle, third)] == [[], [], []]
    own_redis.kill()
    for process in (idle, third, busy):
        process.fetcher.fetch(one)
        assert [AWAY in text for text in caplog.messages] == [True]
    own_redis.start()
    caplog.clear()
    caplog.set_level("INFO", "django_bgtasks.worker")
    for process in (third, busy, idle):
        process.fetcher._retry_at = 0.0
        process.fetcher.fetch(one)
        assert ["is back." in text for text in caplog.messages] == [True]
        process.fetcher.leave()


def test_a_site_that_still_spares_redis_when_it_is_back_does_not_make_its_jobs_wait_long(
    bgworker: WorkerFactory, own_redis: RedisServer, effects: Effects
) -> None:
    worker = bgworker()
    wait_for_state(tasks.record.enqueue(str(effects), "warm"), "succeeded")
    own_redis.kill()
    worker.wait_for(AWAY)
    own_redis.start()
    worker.wait_for("is back.")
    with own_redis.client() as client:
        wait_until(lambda: client.exists(namespace().marker_key))
        with enqueue.without_dispatch():
            job = tasks.record.enqueue(str(effects), "spared")
    assert latency_of(job) < LATENCY


def test_a_worker_starts_without_redis_and_can_be_stopped_without_it(
    bgworker: WorkerFactory, own_redis: RedisServer, effects: Effects
) -> None:
    own_redis.kill()
    job = tasks.record.enqueue(str(effects), "stored")
    worker = bgworker()
    wait_for_state(job, "succeeded")
    assert len(lines_with(worker, AWAY)) == 1
    assert worker.stop(5) == 0
    assert "Traceback" not in worker.output


def test_burst_runs_all_without_redis(
    bgworker: WorkerFactory, own_redis: RedisServer, effects: Effects
) -> None:
    own_redis.kill()
    jobs = [tasks.record.enqueue(str(effects), str(number)) for number in range(3)]
    assert bgworker("--burst").wait() == 0
    assert {row(job).state for job in jobs} == {"succeeded"}
    assert effects.texts == ["0", "1", "2"]


def test_a_wrong_password_is_said_once_with_the_cure_and_jobs_go_on(
    settings: Settings, bgworker: WorkerFactory, effects: Effects
) -> None:
    with RedisServer(password="right") as server:
        wrong = server.url.replace("right", "wrong")
        settings.CACHES = {"default": {**settings.CACHES["default"], "LOCATION": wrong}}
        worker = bgworker()
        wait_for_state(tasks.record.enqueue(str(effects), "first"), "succeeded")
        assert latency_of(tasks.record.enqueue(str(effects), "second")) < LATENCY
        [line] = lines_with(worker, AWAY)
        assert "Check the password in CACHES or in OPTIONS['redis_url']." in line
        assert "wrong" not in line
        assert "Traceback" not in worker.output
        assert worker.stop(5) == 0


@pytest.mark.long
def test_jobs_that_are_retried_while_redis_is_away_add_no_lines_about_it(
    bgworker: WorkerFactory, own_redis: RedisServer
) -> None:
    worker = bgworker("--processes", 2)
    job = tasks.fails_five_times.enqueue()
    own_redis.stop()
    wait_for_state(job, "succeeded", timeout=20)
    assert len(lines_with(worker, "is away")) == 1
