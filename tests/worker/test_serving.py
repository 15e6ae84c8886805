"""Which queues a worker serves, as monitoring is told."""

from __future__ import annotations

import pytest
import redis

from django_bgtasks.monitoring.snapshot import take_snapshot
from tests.waiting import wait_until
from tests.workers import WorkerFactory

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


@pytest.mark.parametrize("names", [(), ("emails",)])
def test_a_worker_serves_all_queues_or_those_that_its_command_line_names(
    bgworker: WorkerFactory, redis_client: redis.Redis, names: tuple[str, ...]
) -> None:
    bgworker(*names)
    wait_until(lambda: take_snapshot("default").alive == 1, 30)
    snapshot = take_snapshot("default")
    assert snapshot.serving("emails")
    assert bool(snapshot.serving("a queue of tomorrow")) is (not names)
