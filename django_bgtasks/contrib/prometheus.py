"""Snapshots of backends for Prometheus: made from the ledger at each scrape, alike on all hosts.

It needs the extra `prometheus`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from ..core.options import entries
from ..ledger.lifecycle import ledger_database
from ..models import RollUp
from ..monitoring.batches import StuckWhy
from ..monitoring.diagnosis import diagnose
from ..monitoring.health import WorkerHealth
from ..monitoring.histogram import BOUNDS
from ..monitoring.limits import prefix_totals
from ..monitoring.rates import is_any_seat_taken, rate_totals
from ..monitoring.rollups import summed
from ..monitoring.snapshot import Snapshot, take_snapshot
from ..monitoring.totals import totals
from ..monitoring.waits import is_any_place_taken

ENDED_STATES = ("succeeded", "failed", "cancelled")
HEALTH = (WorkerHealth.ALIVE, WorkerHealth.LATE, WorkerHealth.LOST)
# Pairs of queue and task with series of their own; the youngest beyond are one pair.
MOST_PAIRS = 200
OTHERS = "(others)"


class BgTasksCollector(Collector):
    """All metrics of these backends, or of all of ours. A scrape raises what the database raises.

    `REGISTRY.register(BgTasksCollector())` adds them to the metrics of a site.
    """

    def __init__(self, backends: Sequence[str] | None = None) -> None:
        self._backends = backends

    def describe(self) -> Iterable[Metric]:
        """Nothing: to register it must not ask the database."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """The metrics as they are now."""
        backends = list(entries()) if self._backends is None else self._backends
        snapshots = {backend: take_snapshot(backend) for backend in backends}
        yield from _queues(snapshots)
        yield from _workers(snapshots)
        yield from _maintenance(snapshots)
        yield from _batches(snapshots)
        yield from _limits(any(one.waits.lanes for one in snapshots.values()))
        yield from _rates(any(one.waits.rates for one in snapshots.values()))
        yield _problems(snapshots)
        yield from _ended({backend: _bounded(backend) for backend in backends})


def _queues(snapshots: dict[str, Snapshot]) -> Iterator[Metric]:
    jobs = GaugeMetricFamily(
        "bgtasks_queue_jobs", "Jobs that wait or run.", labels=("backend", "queue", "state")
    )
    labels = ("backend", "queue")
    oldest = GaugeMetricFamily(
        "bgtasks_queue_oldest_seconds", "How long the first queued job has waited.", labels=labels
    )
    paused = GaugeMetricFamily("bgtasks_queue_paused", "1 if it is paused.", labels=labels)
    for backend, snapshot in snapshots.items():
        for queue in snapshot.queues:
            place = (backend, queue.name)
            for state in ("queued", "scheduled", "running"):
                jobs.add_metric((*place, state), getattr(queue, state))
            oldest.add_metric(place, queue.oldest or 0.0)
            paused.add_metric(place, float(queue.paused))
    yield from (jobs, oldest, paused)


def _workers(snapshots: dict[str, Snapshot]) -> Iterator[Metric]:
    workers = GaugeMetricFamily(
        "bgtasks_workers",
        "Workers that have not stopped; the lost ones for an hour.",
        labels=("backend", "health"),
    )
    for backend, snapshot in snapshots.items():
        for health in HEALTH:
            number = sum(worker.health == health for worker in snapshot.workers)
            workers.add_metric((backend, health), number)
    yield workers


def _maintenance(snapshots: dict[str, Snapshot]) -> Iterator[Metric]:
    labels = ("backend",)
    beat = GaugeMetricFamily(
        "bgtasks_maintenance_beat_seconds",
        "Since maintenance was heard of; absent without.",
        labels=labels,
    )
    overdue = GaugeMetricFamily(
        "bgtasks_maintenance_overdue_jobs", "Scheduled jobs that are due.", labels=labels
    )
    orphans = GaugeMetricFamily(
        "bgtasks_maintenance_orphaned_jobs", "Jobs of workers that are gone.", labels=labels
    )
    redis = GaugeMetricFamily("bgtasks_redis_up", "1 if Redis answers.", labels=labels)
    for backend, snapshot in snapshots.items():
        if snapshot.maintenance.beat is not None:
            beat.add_metric((backend,), snapshot.maintenance.beat)
        overdue.add_metric((backend,), snapshot.maintenance.overdue)
        orphans.add_metric((backend,), snapshot.maintenance.orphans)
        if snapshot.redis.used:
            redis.add_metric((backend,), float(not snapshot.redis.problem))
    yield from (beat, overdue, orphans, redis)


def _batches(snapshots: dict[str, Snapshot]) -> Iterator[Metric]:
    labels = ("backend",)
    batches = GaugeMetricFamily(
        "bgtasks_workflows_open", "Workflows that are not finished, up to 1000.", labels=labels
    )
    failing = GaugeMetricFamily(
        "bgtasks_workflows_failing", "Those of them with a failed job.", labels=labels
    )
    oldest = GaugeMetricFamily(
        "bgtasks_workflows_oldest_seconds",
        "Since the oldest of them was enqueued; 0 without any.",
        labels=labels,
    )
    stuck = GaugeMetricFamily(
        "bgtasks_workflows_stuck",
        "Those of the oldest of which nothing moves.",
        labels=("backend", "why"),
    )
    for backend, snapshot in snapshots.items():
        found = snapshot.batches
        batches.add_metric((backend,), found.open)
        failing.add_metric((backend,), found.failing)
        oldest.add_metric((backend,), found.age or 0.0)
        counts = Counter(one.why for one in found.stuck)
        for why in StuckWhy:
            stuck.add_metric((backend, str(why)), counts[why])
    yield from (batches, failing, oldest, stuck)


def _limits(is_any_waiting: bool) -> Iterator[Metric]:
    """Of all backends together, for that is whose a key is. By the prefixes of the keys, of which
    those with the fewest jobs are one: a site may have a key for each user.
    """
    using, labels = ledger_database(), ("prefix",)
    in_use = GaugeMetricFamily("bgtasks_limit_held", "Places that are taken.", labels=labels)
    waiting = GaugeMetricFamily(
        "bgtasks_limit_waiting", "Jobs that wait for a place.", labels=labels
    )
    oldest = GaugeMetricFamily(
        "bgtasks_limit_oldest_seconds", "How long one has waited for a place.", labels=labels
    )
    # Most sites have no limits, and pay one look.
    found = prefix_totals(using) if is_any_waiting or is_any_place_taken(using) else []
    for total in found:
        prefix = (OTHERS if total.prefix is None else total.prefix,)
        in_use.add_metric(prefix, total.held)
        waiting.add_metric(prefix, total.waiting)
        oldest.add_metric(prefix, total.oldest)
    yield from (in_use, waiting, oldest)


def _rates(is_any_waiting: bool) -> Iterator[Metric]:
    """As the limits."""
    using, labels = ledger_database(), ("prefix",)
    started = GaugeMetricFamily(
        "bgtasks_rate_started", "Starts that are within their periods.", labels=labels
    )
    waiting = GaugeMetricFamily(
        "bgtasks_rate_waiting", "Jobs that wait for a start.", labels=labels
    )
    oldest = GaugeMetricFamily(
        "bgtasks_rate_oldest_seconds", "How long one has waited for a start.", labels=labels
    )
    upcoming = GaugeMetricFamily(
        "bgtasks_rate_next_seconds", "Until the next one of those that wait starts.", labels=labels
    )
    found = rate_totals(using) if is_any_waiting or is_any_seat_taken(using) else []
    for total in found:
        prefix = (OTHERS if total.prefix is None else total.prefix,)
        started.add_metric(prefix, total.started)
        waiting.add_metric(prefix, total.waiting)
        oldest.add_metric(prefix, total.oldest)
        upcoming.add_metric(prefix, total.next_start)
    yield from (started, waiting, oldest, upcoming)


def _problems(snapshots: dict[str, Snapshot]) -> Metric:
    labels = ("backend", "level", "code")
    problems = GaugeMetricFamily(
        "bgtasks_problems", "What is wrong by the diagnosis; absent when nothing is.", labels=labels
    )
    for backend, snapshot in snapshots.items():
        counts = Counter((str(problem.level), problem.code) for problem in diagnose(snapshot))
        for kind, number in counts.items():
            problems.add_metric((backend, *kind), number)
    return problems


def _ended(found: dict[str, list[RollUp]]) -> Iterator[Metric]:
    labels = ("backend", "queue", "task")
    ended = CounterMetricFamily(
        "bgtasks_jobs_ended", "Jobs that came to an end.", labels=(*labels, "outcome")
    )
    waits = HistogramMetricFamily(
        "bgtasks_job_wait_seconds", "From when a job could begin until it did.", labels=labels
    )
    runs = HistogramMetricFamily("bgtasks_job_run_seconds", "The last attempt.", labels=labels)
    for backend, rows in found.items():
        for row in rows:
            pair = (backend, row.queue, row.task)
            for outcome in ENDED_STATES:
                ended.add_metric((*pair, outcome), getattr(row, outcome))
            waits.add_metric(pair, _buckets(row.waits), row.wait_seconds)
            runs.add_metric(pair, _buckets(row.runs), row.run_seconds)
    yield from (ended, waits, runs)


def _bounded(backend: str) -> list[RollUp]:
    """The totals, of so many pairs of queue and task that Prometheus can bear them."""
    rows = totals(backend, ledger_database())
    own, rest = rows[:MOST_PAIRS], rows[MOST_PAIRS:]
    if not rest:
        return own
    others = RollUp(backend=backend, queue=OTHERS, task=OTHERS)
    return [*own, summed(others, rest)]


def _buckets(counts: Sequence[int]) -> list[tuple[str, float]]:
    bounds = [*(f"{float(bound)}" for bound in BOUNDS), "+Inf"]
    return list(zip(bounds, accumulate(counts), strict=True))
