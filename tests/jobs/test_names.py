"""The names in Redis: nobody else's begin like ours, and each stands for one queue and priority."""

from __future__ import annotations

from itertools import product
from uuid import UUID

import pytest
import redis
from pytest_django import Settings

from django_bgtasks.models import Job
from django_bgtasks.transport.messages import Namespace, place_of, rq_queue_name
from django_bgtasks.transport.queues import forget_empty
from django_bgtasks.worker.config import WorkerConfig
from django_bgtasks.worker.job_process import JobProcess
from django_bgtasks.worker.shared_state import SharedState
from tests.app.tasks import add
from tests.named import namespace

QUEUES = [
    "emails", "emails-p50", "emails-p50-p0", "emails-m10", "p50", "-p5", "a:b", "a b", "x-p",
    "x-p1000", "x-pp5", "1a2b3c4d", "ü", "line\nbreak", "x-p05", "x-m0", "intermediate",
]  # fmt: skip
PRIORITIES = [0, 1, -1, 5, 50, -10, 100, -100]


def test_a_name_leads_back_to_its_queue_and_priority() -> None:
    places = list(product(QUEUES, PRIORITIES))
    assert [place_of(rq_queue_name(*place)) for place in places] == places


def test_no_two_queues_and_priorities_share_a_name() -> None:
    names = [rq_queue_name(*place) for place in product(QUEUES, PRIORITIES)]
    assert len(set(names)) == len(names)


def test_the_usual_names_are_the_plain_ones() -> None:
    names = [rq_queue_name("emails", priority) for priority in (0, 50, -10)]
    assert names == ["emails", "emails-p50", "emails-m10"]


def test_what_does_not_begin_like_ours_is_not_ours() -> None:
    own = Namespace("1a2b3c4d", "1a2b3c4d")
    assert own.own("1a2b3c4d:emails") == "emails"
    for name in ("emails", "1a2b3c4d", "1a2b3c4d.archive:emails", "1a2b3c4:emails", "x1a2b3c4d:e"):
        assert own.own(name) is None


@pytest.mark.django_db(transaction=True)
def test_the_names_of_two_backends_of_one_site_never_meet(settings: Settings) -> None:
    entry = settings.TASKS["default"]
    aliases = ["default", "archive", "arch:ive", "a.b", "a/b", "ü"]
    settings.TASKS = dict.fromkeys(aliases, entry)
    found = [namespace(alias) for alias in aliases]
    assert found[0].name == found[0].ledger
    assert found[1].name == f"{found[0].ledger}.archive"
    assert len({one.name for one in found}) == len(aliases)
    for one, other in product(found, found):
        name = other.own(one.rq_queue("ive:emails"))
        assert (name == "ive:emails") == (one is other)
        assert one.is_of_ledger(other.rq_queue("emails"))


@pytest.mark.django_db(transaction=True)
def test_a_worker_takes_no_message_of_another_backend_of_its_site(
    settings: Settings, redis_client: redis.Redis
) -> None:
    """Both have the queue `default`."""
    settings.TASKS = dict.fromkeys(("default", "archive"), settings.TASKS["default"])
    archived = add.using(backend="archive").enqueue(1, 2)
    own = add.enqueue(3, 4)
    process = JobProcess(WorkerConfig("default", "default"), SharedState())
    fetched = [process.fetcher.fetch(lambda rq_queue: 1) for _ in range(2)]
    assert fetched == [[UUID(own.id)], []]
    assert redis_client.lrange(namespace("archive").list_key("default"), 0, -1) == [
        archived.id.encode()
    ]
    process.fetcher.leave()
    other = JobProcess(WorkerConfig("archive", "default"), SharedState())
    assert other.step()
    assert Job.objects.get(pk=archived.id).state == "succeeded"
    other.fetcher.leave()


@pytest.mark.django_db(transaction=True)
def test_of_very_many_queues_the_empty_ones_are_forgotten(redis_client: redis.Redis) -> None:
    queues = [namespace().list_key(f"customer-{number}") for number in range(500)]
    strange = [f"rq:queue:{number}" for number in range(500)]
    add.using(priority=7).enqueue(1, 2)
    assert forget_empty(namespace(), redis_client) == 0
    redis_client.sadd("rq:queues", *queues[:150], *strange)
    assert forget_empty(namespace(), redis_client) == 0
    redis_client.sadd("rq:queues", *queues)
    assert forget_empty(namespace(), redis_client) == 500
    left = redis_client.smembers("rq:queues")
    assert left == {name.encode() for name in (*strange, namespace().list_key("default-p7"))}
