"""What limits cost: for many keys, for one that is hot, and where very many wait."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

from django_bgtasks.ledger.admission import LANE
from django_bgtasks.ledger.lanes import admit
from django_bgtasks.ledger.lifecycle import ledger_database
from django_bgtasks.models import Job
from tests.waiting import wait_until

from .. import tasks
from .tools import Figures, emptied, lines_of, new_log, rate, settled, share, worker

JOBS, KEYS = 10_000, 1000
HOT = 2000
FEW, MANY, LOOKS = 100, 100_000, 50
TURNS, SECONDS = 200, 0.01


def limits(directory: Path) -> Figures:
    """Rates with limits beside those without, and how soon a free place is taken."""
    keys = [str(number % KEYS) for number in range(JOBS)]
    free = _drained(directory, tasks.unlimited, keys)
    limited = _drained(directory, tasks.limited, keys)
    alone = _drained(directory, tasks.unlimited, ["hot"] * HOT, "--group-size", 1)
    hot = _drained(directory, tasks.one_at_once, ["hot"] * HOT)
    return {
        "no limit, jobs /s": free,
        "1,000 keys, jobs /s": limited,
        "1,000 keys ÷ no limit": limited / free,
        "no limit, --group-size 1, jobs /s": alone,
        "one key, one at once, jobs /s": hot,
        "one key ÷ --group-size 1": hot / alone,
        **_turns(directory),
        **_admissions(),
    }


def _drained(directory: Path, task: Any, keys: list[str], *options: object) -> float:
    """Jobs a second that two job processes run."""
    emptied()
    task.enqueue_many([(key,) for key in keys])
    settled()
    with worker(directory, "--processes", 2, "--verbosity", 0, *options):
        live = Job.objects.filter(finished_at=None)
        wait_until(lambda: not live.exists(), timeout=600, pause=0.1)
    assert not Job.objects.exclude(state="succeeded").exists()
    return rate()


def _turns(directory: Path) -> Figures:
    """From the end of a task until the next one of its key begins: a place that becomes free."""
    emptied()
    log = new_log(directory)
    with worker(directory, "--processes", 2, "--verbosity", 0):
        tasks.note_turn.enqueue_many([(str(log), SECONDS)] * TURNS)
        wait_until(lambda: len(lines_of(log)) == 2 * TURNS, timeout=120)
    times = [float(line) for line in lines_of(log)]
    waits = sorted(
        (begin - end) * 1000 for end, begin in zip(times[1:-1:2], times[2::2], strict=True)
    )
    return {
        "free place taken, median ms": statistics.median(waits),
        "free place taken, p95 ms": share(waits, 0.95),
    }


def _admissions() -> Figures:
    """Milliseconds to give a place to one of few and of very many that wait."""
    emptied()
    figures, using = {}, ledger_database()
    for count in (FEW, MANY):
        tasks.one_at_once.enqueue_many([(str(count),)] * count)
        settled()
        took = []
        for _ in range(LOOKS):
            Job.objects.filter(lane=f"one:{count}", place=1).delete()
            start = time.perf_counter()
            assert len(admit(LANE, {f"one:{count}": [1]}, using)) == 1
            took.append((time.perf_counter() - start) * 1000)
        figures[count] = statistics.median(took)
    return {
        f"a place for one of {FEW}, ms": figures[FEW],
        f"a place for one of {MANY:,} ÷ of {FEW}": figures[MANY] / figures[FEW],
    }
