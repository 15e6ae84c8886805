"""A Redis that is there and does not allow what is needed: an ACL, or a cluster."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import pytest
import redis
from django.core.management import call_command
from pytest_django import Settings

from django_bgtasks.models import Job
from django_bgtasks.transport.sender import senders
from testproject.servers import RedisServer
from tests.named import waiting_in
from tests.waiting import wait_until
from tests.workers import ROOT, WorkerFactory, WorkerProcess

from . import tasks
from .conftest import Effects
from .jobs import wait_for_state

KEYS = "~rq:* ~bgtasks:*"
PAGE = ROOT / "docs" / "security.md"
Allow = Callable[[str], None]


@pytest.fixture
def allow(own_redis: RedisServer, settings: Settings) -> Iterator[Allow]:
    """Give the site a Redis user `shop` with these rules, and no others."""
    with redis.Redis.from_url(own_redis.url) as client:

        def set_user(rules: str) -> None:
            client.execute_command(
                "ACL", "SETUSER", "shop", "reset", "on", ">secret", *rules.split()
            )

        set_user(f"{KEYS} +@all")
        url = own_redis.url.replace("redis://", "redis://shop:secret@")
        settings.CACHES = {"default": {**settings.CACHES["default"], "LOCATION": url}}
        yield set_user


def doctor() -> str:
    out = StringIO()
    with contextlib.suppress(SystemExit):
        call_command("bgdoctor", stdout=out, no_color=True)
    return out.getvalue()


def lines(worker: WorkerProcess, *words: str) -> list[str]:
    """The lines of the log that have all of these words."""
    return [line for line in worker.output.splitlines() if all(word in line for word in words)]


def run(effects: Effects, number: int = 10) -> float:
    """Run so many jobs; how long it took."""
    start = time.monotonic()
    for job in [tasks.record.enqueue(str(effects), str(n)) for n in range(number)]:
        wait_for_state(job, "succeeded")
    return time.monotonic() - start


def test_the_least_that_the_docs_name_is_enough(
    allow: Allow, bgworker: WorkerFactory, effects: Effects
) -> None:
    [rules] = re.findall(r"^ACL SETUSER shop on >password (.*)$", PAGE.read_text(), re.MULTILINE)
    allow(rules)
    worker = bgworker()
    wait_for_state(tasks.record.enqueue(str(effects), "first"), "succeeded")
    run(effects)
    assert "Redis allows all that is needed." in doctor()
    assert not lines(worker, "WARNING")
    assert "Traceback" not in worker.output


def test_without_scripts_all_goes_on_and_one_line_says_what_to_allow(
    allow: Allow, own_redis: RedisServer, bgworker: WorkerFactory, effects: Effects
) -> None:
    allow(f"{KEYS} +@all -@scripting")
    worker = bgworker("--processes", 2)
    wait_for_state(tasks.record.enqueue(str(effects), "first"), "succeeded")
    assert run(effects) < 5
    with redis.Redis.from_url(own_redis.url) as client:
        wait_until(lambda: not client.keys("rq:job:*"))
        assert not client.exists(waiting_in("default"))
        # By Redis, not from the database.
        assert client.info("commandstats")["cmdstat_ltrim"]["calls"] >= 1
    cure = "ACL SETUSER shop +eval +evalsha"
    worker.wait_for(cure)
    assert len(lines(worker, "Redis runs no scripts")) == 1
    assert cure in doctor()
    many = tasks.record.enqueue_many([(str(effects), f"many {n}") for n in range(300)])
    wait_until(lambda: not Job.objects.filter(pk__in=[job.id for job in many]).live().exists(), 30)
    assert len(effects.texts) == len(set(effects.texts)) == 311


def test_a_redis_whose_operator_has_taken_scripts_away_is_used_without_them(
    settings: Settings, bgworker: WorkerFactory, effects: Effects, tmp_path: Path
) -> None:
    more = tmp_path / "more.conf"
    more.write_text('rename-command EVAL ""\nrename-command EVALSHA ""\n')
    with RedisServer(config={"include": str(more)}) as server, server.client() as client:
        settings.CACHES = {"default": {**settings.CACHES["default"], "LOCATION": server.url}}
        worker = bgworker()
        worker.wait_for("Redis runs no scripts for default")
        run(effects)
        assert client.info("commandstats")["cmdstat_ltrim"]["calls"] >= 1
        assert len(lines(worker, "Redis runs no scripts")) == 1


LACKING = {
    "~rq:* +@all": "ACL SETUSER shop ~bgtasks:*",
    "~bgtasks:* +@all": "ACL SETUSER shop ~rq:*",
    "~rq:job:* ~bgtasks:* +@all": "ACL SETUSER shop ~rq:*",
    "~cache:* +@all": "ACL SETUSER shop ~bgtasks:* ~rq:*",
    f"{KEYS} +@all -blpop": "ACL SETUSER shop +blpop",
    f"{KEYS} +@all -@write": "+rpush",
    f"{KEYS} +@all -multi -smembers": "ACL SETUSER shop +multi +smembers",
    f"{KEYS} +@all -exec": "ACL SETUSER shop +exec",
    f"{KEYS} +@read +@connection": "+hset",
    f"{KEYS} +@all -zrange -info": "ACL SETUSER shop +info +zrange",
}


def test_bgdoctor_names_what_to_allow(allow: Allow, transactional_db: None) -> None:
    for rules, cure in LACKING.items():
        allow(rules)
        assert cure in doctor(), rules
        allow(f"{KEYS} +@all")
        assert "Redis allows all that is needed." in doctor()


@pytest.mark.parametrize("rules", ["~rq:* +@all", f"{KEYS} +@all -exec"])
def test_what_cannot_be_done_without_is_told_once_and_jobs_go_on_from_the_database(
    allow: Allow, bgworker: WorkerFactory, effects: Effects, rules: str
) -> None:
    allow(rules)
    worker = bgworker("--processes", 2)
    worker.wait_for("cannot be used: The Redis user shop may not do all that is needed.")
    run(effects, 3)
    assert len(lines(worker, "WARNING")) == 1
    assert len(lines(worker, LACKING[rules])) == 1
    assert "Traceback" not in worker.output


def test_what_is_allowed_later_is_used_then(
    allow: Allow, bgworker: WorkerFactory, effects: Effects
) -> None:
    allow(f"{KEYS} +@all -blpop")
    worker = bgworker()
    worker.wait_for("ACL SETUSER shop +blpop")
    allow(f"{KEYS} +@all")
    worker.wait_for("is back.")
    run(effects, 3)


def test_a_site_says_once_that_it_may_not_push(
    allow: Allow, transactional_db: None, effects: Effects, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    allow(f"{KEYS} +@all -rpush")
    monkeypatch.setattr("django_bgtasks.transport.sender.PAUSE_SECONDS", 0.0)
    for number in range(3):
        tasks.record.enqueue(str(effects), str(number))
        senders.flush(10)
    [warning] = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    assert "python manage.py bgdoctor" in warning
    assert Job.objects.count() == 3


def test_a_cluster_is_named_and_jobs_go_on_from_the_database(
    transactional_db: None, settings: Settings, bgworker: WorkerFactory, effects: Effects
) -> None:
    with RedisServer(config={"cluster-enabled": "yes"}) as server, server.client() as client:
        client.execute_command("CLUSTER", "ADDSLOTS", *range(16384))
        wait_until(lambda: b"cluster_state:ok" in client.execute_command("CLUSTER", "INFO"))
        settings.CACHES = {"default": {**settings.CACHES["default"], "LOCATION": server.url}}
        worker = bgworker("--processes", 2)
        worker.wait_for("It is a Redis Cluster, which RQ does not support")
        run(effects, 3)
        assert len(lines(worker, "WARNING")) == 1
        assert "Redis Cluster" in doctor()
        assert not client.keys("rq:*")
