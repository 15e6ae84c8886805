"""Sentinel: the primary dies, is swapped, comes back, or nobody says which it is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_django import Settings

from . import tasks
from .case import Case
from .outage import AWAY, LATENCY, goes_on, latency_of_one, ran_once, returns, warm
from .sentinels import NAME, Watched

pytestmark = [
    pytest.mark.faults,
    pytest.mark.long,
    pytest.mark.usefixtures("no_traceback"),
]


@pytest.fixture
def watched(settings: Settings) -> Iterator[Watched]:
    """A primary, its replica and their Sentinels, which the site and its workers ask."""
    with Watched() as servers:
        options = {**settings.CACHES["default"]["OPTIONS"], **servers.options}
        cache = {**settings.CACHES["default"], "LOCATION": f"redis://{NAME}/0", "OPTIONS": options}
        settings.CACHES = {**settings.CACHES, "default": cache}
        yield servers


def test_a_primary_that_dies_is_followed_to_its_replica(case: Case, watched: Watched) -> None:
    case.row("Redis", "the primary killed, failover by Sentinel")
    worker = case.worker(env=watched.env)
    warm(case)
    assert AWAY not in worker.output
    with returns(case, watched.second, worker):
        watched.first.kill()
        case.recovered(goes_on(case, 8), within=LATENCY)
        watched.wait_for_second()
    assert ran_once(case)


def test_a_primary_that_dies_with_jobs_queued_and_comes_back_as_a_replica_loses_none(
    case: Case, watched: Watched
) -> None:
    case.row("Redis", "the primary killed with 500 queued jobs, failover by Sentinel")
    worker = case.worker("--processes", 2, env=watched.env)
    warm(case)
    case.enqueue_many(tasks.nap, [(0.02,)] * 500)
    with returns(case, watched.second, worker, processes=2):
        watched.first.kill()
        goes_on(case, 2)
        watched.wait_for_second()
        watched.first.start()
        goes_on(case, 2)
        with case.recovers(within=15):
            case.wait_final()
    watched.wait_for_first()
    case.recovered(goes_on(case, 3), within=LATENCY)
    assert ran_once(case)


def test_a_primary_that_is_swapped_while_jobs_run_is_followed(case: Case, watched: Watched) -> None:
    case.row("Redis", "the primary swapped for its replica (SENTINEL FAILOVER)")
    worker = case.worker(env=watched.env)
    warm(case)
    with returns(case, watched.second, worker):
        watched.fail_over()
        case.recovered(goes_on(case, 6), within=LATENCY)
        watched.wait_for_first()
    assert ran_once(case)


def test_sentinels_that_hang_hold_up_neither_views_nor_jobs(case: Case, watched: Watched) -> None:
    case.row("Redis", "the primary killed and all Sentinels half-open")
    worker = case.worker(env=watched.env)
    warm(case)
    for link in watched.links:
        link.silence()
    assert latency_of_one(case) < LATENCY
    assert AWAY not in worker.output
    with returns(case, watched.second, worker):
        watched.first.kill()
        case.recovered(goes_on(case, 10), within=LATENCY)
        watched.wait_for_second()
        for link in watched.links:
            link.silence(False)
    assert ran_once(case)
