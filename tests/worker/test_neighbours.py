"""Several on one Redis database: other sites, copies of this one, plain RQ."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import redis
import rq
from django.core.management import call_command
from django.db.models import F, Max
from rq.job import Job as RQJob

from django_bgtasks.ledger import identity
from django_bgtasks.models import Job
from tests.app.tasks import add
from tests.named import namespace, waiting_in
from tests.sites import Site, another_site, copied_site
from tests.waiting import wait_until
from tests.workers import WorkerFactory, WorkerProcess

from . import tasks
from .conftest import Effects
from .jobs import row, wait_for_state

JOBS = 40


def started(
    bgworker: WorkerFactory, client: redis.Redis, *sites: Site | None
) -> list[WorkerProcess]:
    """A worker of each of these sites, of this one for None, when they are registered."""
    before = client.scard("rq:workers")
    workers = [bgworker(env=site.env if site else None) for site in sites]
    wait_until(lambda: client.scard("rq:workers") == before + len(sites), 30)
    return workers


def enqueue_there(site: Site, effects: Effects, count: int) -> None:
    """Jobs of the other site: `theirs 0` and so on."""
    site.python(f"for n in range({count}): tasks.record.enqueue({str(effects)!r}, f'theirs {{n}}')")


def slowest() -> timedelta:
    """How long the slowest job has taken, from its enqueue to its end."""
    took = Job.objects.aggregate(took=Max(F("finished_at") - F("enqueued_at")))
    found: timedelta = took["took"]
    return found


def test_two_sites_on_one_redis_database_run_their_own_jobs_at_once(
    bgworker: WorkerFactory, redis_client: redis.Redis, effects: Effects
) -> None:
    with another_site() as site:
        workers = started(bgworker, redis_client, None, site)
        enqueue_there(site, effects, JOBS)
        for number in range(JOBS):
            tasks.record.enqueue(str(effects), f"ours {number}")
        wait_until(lambda: Job.objects.filter(state="succeeded").count() == JOBS, 20)
        wait_until(lambda: site.states() == {"succeeded": JOBS}, 20)
        with site.opened():
            assert slowest() < timedelta(seconds=5)
        assert slowest() < timedelta(seconds=5)
        numbers = [f"{whose} {number}" for whose in ("ours", "theirs") for number in range(JOBS)]
        assert sorted(effects.texts) == sorted(numbers)
        assert len({(text.split()[0], pid) for text, pid in effects.entries}) == 2
        assert not [worker for worker in workers if "missing in Redis" in worker.output]


def test_jobs_of_plain_rq_stay_where_they_are_and_its_own_worker_runs_them(
    bgworker: WorkerFactory, redis_client: redis.Redis, effects: Effects
) -> None:
    queue = rq.Queue("default", connection=redis_client)
    strange = [queue.enqueue("math.sqrt", number) for number in range(10)]
    started(bgworker, redis_client, None)
    own = [tasks.record.enqueue(str(effects), str(number)) for number in range(10)]
    # The id of one of theirs, in a list of ours.
    redis_client.rpush(waiting_in("default"), strange[0].id)
    for job in own:
        wait_for_state(job, "succeeded")
    wait_until(lambda: not redis_client.exists(waiting_in("default")))
    wait_until(lambda: not redis_client.exists(f"rq:job:{own[-1].id}"))
    assert queue.job_ids == [job.id for job in strange]
    assert all(RQJob.exists(job.id, connection=redis_client) for job in strange)
    kwargs = redis_client.connection_pool.connection_kwargs
    url = f"redis://{kwargs['host']}:{kwargs['port']}/{kwargs.get('db', 0)}"
    command = [str(Path(sys.executable).with_name("rq")), "worker", "--burst", "default"]
    subprocess.run([*command, "--url", url], capture_output=True, check=True, timeout=60)
    assert [job.get_status(refresh=True).value for job in strange] == ["finished"] * 10


@pytest.mark.long
@pytest.mark.sqlite
@pytest.mark.postgres
def test_a_copied_database_gets_a_name_of_its_own_and_both_run_what_they_have(
    bgworker: WorkerFactory, redis_client: redis.Redis, effects: Effects
) -> None:
    jobs = [tasks.record.enqueue(str(effects), str(number)) for number in range(10)]
    original = identity.identity_of("default").uuid
    with copied_site() as site:
        assert site.ledger().uuid == original
        _, copied = started(bgworker, redis_client, None, site)
        for job in jobs:
            wait_for_state(job, "succeeded")
        wait_until(lambda: site.states() == {"succeeded": 10}, 20)
        assert identity.identity_of("default").uuid == original
        copy = site.ledger()
        assert (copy.uuid == original, copy.copied_from) == (False, original)
        copied.wait_for("was copied or moved")
        assert sorted(effects.texts) == sorted([str(number) for number in range(10)] * 2)
        # A site process of the copy sends to its own worker at once.
        site.python(f"tasks.record.enqueue({str(effects)!r}, 'new')")
        wait_until(lambda: site.states() == {"succeeded": 11}, 5)
        output = site.manage("bgdoctor", "--no-color")
        assert f"It was {identity.short(original)}" in output
        assert f"The ledger {identity.short(original)}" in output


@pytest.mark.long
def test_after_a_flushall_each_ledger_sends_its_own_jobs_again(
    bgworker: WorkerFactory, redis_client: redis.Redis, effects: Effects
) -> None:
    with another_site() as site:
        started(bgworker, redis_client, None, site)
        wait_until(lambda: redis_client.zcard("bgtasks:ledgers") == 2)
        redis_client.set("rq:suspended", 1)
        enqueue_there(site, effects, 20)
        for number in range(20):
            tasks.record.enqueue(str(effects), f"ours {number}")
        redis_client.flushall()
        wait_until(lambda: Job.objects.filter(state="succeeded").count() == 20, 10)
        wait_until(lambda: site.states() == {"succeeded": 20}, 10)
        assert len(effects.texts) == len(set(effects.texts)) == 40


@pytest.mark.long
def test_an_id_of_another_ledger_in_our_list_costs_it_nothing(
    bgworker: WorkerFactory, redis_client: redis.Redis, effects: Effects
) -> None:
    with another_site() as site:
        code = f"print(json.dumps(tasks.record.enqueue({str(effects)!r}, 'theirs').id))"
        foreign = site.python(code)
        started(bgworker, redis_client, None)
        redis_client.rpush(waiting_in("default"), foreign)
        wait_for_state(tasks.record.enqueue(str(effects), "ours"), "succeeded")
        wait_until(lambda: not redis_client.exists(waiting_in("default")))
        wait_for_state(tasks.record.enqueue(str(effects), "after"), "succeeded")
        assert redis_client.hget(f"rq:job:{foreign}", "status") == b"queued"
        bgworker(env=site.env)
        wait_until(lambda: site.states() == {"succeeded": 1}, 20)


@pytest.mark.long
def test_bgdoctor_tells_who_else_is_there(
    bgworker: WorkerFactory, redis_client: redis.Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    rq.Queue("letters", connection=redis_client).enqueue("math.sqrt", 4)
    with another_site() as site:
        started(bgworker, redis_client, site)
        wait_until(lambda: redis_client.zcard("bgtasks:ledgers") == 1)
        redis_client.set("rq:suspended", 1)
        site.python("for n in range(3): tasks.record.using(priority=5).enqueue('/dev/null', 'x')")
        with pytest.raises(SystemExit):
            call_command("bgdoctor")
        output = capsys.readouterr().out
        assert f"In Redis this ledger is {namespace().name}" in output
        name = identity.short(site.ledger().uuid)
        assert f"The ledger {name} ({Path(site.name).name}, with workers) is there too" in output
        assert "queues in use: 1, messages: 3, worker processes: 1" in output
        assert "Plain RQ is there too: queues in use: 1, messages: 1, worker processes: 0" in output
        assert "`rq suspend` holds the workers of all" in output


@pytest.mark.long
def test_the_job_of_a_renamed_ledger_runs_at_once_and_nothing_is_lost(
    bgworker: WorkerFactory, redis_client: redis.Redis, effects: Effects
) -> None:
    """Its site and its worker have read the old name."""
    started(bgworker, redis_client, None)
    wait_for_state(add.enqueue(1, 2), "succeeded")
    identity.rename(identity.identity_of("default"), "A test wants it so", "default")
    stale = tasks.record.enqueue(str(effects), "stale")
    identity.forget()
    fresh = tasks.record.enqueue(str(effects), "fresh")
    wait_for_state(stale, "succeeded", 40)
    wait_for_state(fresh, "succeeded", 40)
    assert row(stale).attempt == row(fresh).attempt == 1
