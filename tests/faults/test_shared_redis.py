"""Who else is there: other sites, copies and plain RQ on one Redis database."""

from __future__ import annotations

import pytest
import redis
import rq

from django_bgtasks.models import Job
from tests.named import waiting_in
from tests.sites import Site, another_site, copied_site

from . import tasks
from .case import Case

pytestmark = pytest.mark.faults
long = pytest.mark.long
JOBS = 40


def enqueue_there(site: Site, count: int) -> None:
    """Jobs of the other site."""
    site.python(f"from tests.faults import tasks\nfor _ in range({count}): tasks.plain.enqueue()")


def none_waited(case: Case) -> bool:
    """Whether no worker had to send a message again."""
    return not [w for w in case.workers if "missing in Redis" in w.output]


@pytest.mark.long
@pytest.mark.parametrize("burst", [False, True])
def test_two_sites_on_one_redis_database_never_meet(
    case: Case, redis_client: redis.Redis, burst: bool
) -> None:
    case.row("Settings", "another site on the same Redis database", times=JOBS)
    with another_site() as site:
        case.worker()
        case.worker(env=site.env)
        case.wait_until(lambda: redis_client.scard("rq:workers") == 2)
        enqueue_there(site, JOBS)
        if burst:
            case.enqueue_many(tasks.plain, [()] * JOBS)
        else:
            for _ in range(JOBS):
                case.enqueue(tasks.plain)
        with case.recovers(within=5):
            case.wait_final()
            case.wait_until(lambda: site.states() == {"succeeded": JOBS})
        assert none_waited(case)
        for worker in case.workers:
            case.kill(worker)


@long
def test_a_copy_of_the_database_beside_its_original(case: Case, redis_client: redis.Redis) -> None:
    case.row("Settings", "a copy of the database, with its queued jobs, on the same Redis database")
    case.enqueue_many(tasks.plain, [()] * JOBS)
    with copied_site() as site:
        case.worker()
        copy = case.worker(env=site.env)
        copy.wait_for("was copied or moved")
        case.wait_final()
        case.wait_until(lambda: site.states() == {"succeeded": JOBS})
        assert set(case.effects.times("end").values()) == {2}
        case.effects.path.unlink()
        for worker in case.workers:
            case.kill(worker)


def test_plain_rq_keeps_its_jobs_whatever_list_of_ours_names_them(
    case: Case, redis_client: redis.Redis
) -> None:
    case.row(
        "Settings",
        "jobs of plain RQ in the same Redis database, ids of theirs in our list",
        times=20,
    )
    queue = rq.Queue("default", connection=redis_client)
    ids = [queue.enqueue("math.sqrt", number).id for number in range(20)]
    case.worker()
    redis_client.rpush(waiting_in("default"), *ids)
    for _ in range(JOBS):
        case.enqueue(tasks.plain)
    case.wait_final()
    case.wait_until(lambda: not redis_client.exists(waiting_in("default")))
    assert Job.objects.count() == JOBS
    assert queue.job_ids == ids
    assert redis_client.exists(*(f"rq:job:{job}" for job in ids)) == len(ids)
