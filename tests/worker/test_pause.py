"""A paused queue: its jobs wait, with Redis and without, until it is resumed."""

from __future__ import annotations

import pytest
import redis

from django_bgtasks.jobs.actions import pause_queue, resume_queue
from django_bgtasks.ledger import queues
from django_bgtasks.models import Job
from django_bgtasks.worker.config import WorkerConfig
from django_bgtasks.worker.job_process import JobProcess
from django_bgtasks.worker.shared_state import SharedState
from testproject.servers import RedisServer
from tests.app.tasks import add
from tests.named import waiting_in
from tests.waiting import wait_until
from tests.workers import WorkerFactory

pytestmark = pytest.mark.django_db(transaction=True)


def states(queue: str) -> set[str]:
    return set(Job.objects.filter(queue=queue).values_list("state", flat=True))


def enqueue(queue: str) -> None:
    add.using(queue_name=queue).enqueue(1, 2)


def listened_to(client: redis.Redis) -> str:
    """The queues that the job processes listen to just now."""
    return " ".join(str(client.hget(key, "queues")) for key in client.smembers("rq:workers"))


def done(queue: str) -> bool:
    return states(queue) == {"succeeded"}


@pytest.mark.slow
def test_a_live_worker_leaves_a_paused_queue_alone_until_it_is_resumed(
    bgworker: WorkerFactory, redis_client: redis.Redis
) -> None:
    bgworker()
    enqueue("emails")
    wait_until(lambda: done("emails"), 30)
    assert pause_queue("emails", by="root")
    Job.objects.all().delete()
    wait_until(lambda: "emails" not in listened_to(redis_client), 30)
    for queue in ("emails", "reports"):
        enqueue(queue)
    wait_until(lambda: done("reports"), 30)
    assert states("emails") == {"queued"}
    assert resume_queue("emails")
    wait_until(lambda: done("emails"), 30)


@pytest.mark.slow
def test_without_redis_a_paused_queue_waits_too(
    own_redis: RedisServer, bgworker: WorkerFactory
) -> None:
    own_redis.stop()
    pause_queue("emails")
    enqueue("emails")
    enqueue("reports")
    bgworker(env={"BGTASKS_TEST_REDIS_URL": own_redis.url})
    wait_until(lambda: done("reports"), 30)
    assert states("emails") == {"queued"}
    resume_queue("emails")
    wait_until(lambda: done("emails"), 30)


def test_a_message_that_was_popped_goes_back_to_its_place(redis_client: redis.Redis) -> None:
    process = JobProcess(WorkerConfig("default", "default", queues=("emails",)), SharedState())
    assert not process.step()
    pause_queue("emails")
    first, second = (add.using(queue_name="emails").enqueue(n, n).id for n in (1, 2))
    process.queues._pauses_look_at = 0.0
    worker = process.fetcher.worker
    assert worker is not None
    # As if the pause came while it waited for the message.
    assert process.fetcher._wait(worker, lambda rq_queue: 1, 1) == []
    assert redis_client.lrange(waiting_in("emails"), 0, -1) == [first.encode(), second.encode()]
    assert states("emails") == {"queued"}
    process.fetcher.leave()


def test_a_worker_all_of_whose_queues_are_paused_begins_nothing(redis_client: redis.Redis) -> None:
    pause_queue("emails")
    enqueue("emails")
    process = JobProcess(
        WorkerConfig("default", "default", queues=("emails",), burst=True), SharedState()
    )
    assert not process.step()
    assert not process.step()
    assert states("emails") == {"queued"}
    process.fetcher.leave()


def test_a_queue_of_the_same_name_in_another_backend_goes_on(redis_client: redis.Redis) -> None:
    queues.pause("emails", "another", "", "default")
    enqueue("emails")
    process = JobProcess(WorkerConfig("default", "default", queues=("emails",)), SharedState())
    assert process.step()
    assert done("emails")
    process.fetcher.leave()


def test_to_pause_twice_or_to_resume_what_runs_is_no_error() -> None:
    assert pause_queue("emails", by="root")
    assert pause_queue("emails") is None
    assert resume_queue("emails")
    assert resume_queue("emails") is None
