"""`python -m tests.benchmarks.run [NAME ...] [--db sqlite|postgres|mysql] [--repeat N]`."""

from __future__ import annotations

import argparse
import sys

from .site import site

NAMES = (
    "pickup",
    "start",
    "memory",
    "job_process",
    "enqueue",
    "silent_redis",
    "drain",
    "mixed",
    "statements",
    "maintenance",
    "backlog",
    "coroutines",
    "threads",
    "dashboard",
    "failures",
    "admin",
    "schedules",
    "limits",
    "workflows",
)
# What the design promises: the figure must not be above it, or below it.
AT_MOST = {
    ("pickup", "1 queue, median ms"): 5.0,
    ("pickup", "20 queues, median ms"): 5.0,
    ("start", "first job ÷ check"): 1.0,
    ("memory", "sum MiB"): 110.0,
    ("silent_redis", "silent ÷ real, p99"): 2.0,
    ("mixed", "best ms"): 100.0,
    ("coroutines", "1,000 × 100 ms, s"): 3.0,
    ("threads", "1,000 × 100 ms, s"): 4.0,
    ("schedules", "10,000 of them cost, % of a core"): 0.5,
    ("schedules", "500 of 10,000 due in a second, s until all are enqueued"): 2.0,
    ("schedules", "a tick is late by, p99 ms"): 300.0,
    ("maintenance", "1,000,000 final rows, % of a core"): 2.0,
    ("limits", "free place taken, median ms"): 10.0,
    ("limits", "a place for one of 100,000 ÷ of 100"): 1.5,
    ("workflows", "45,000 members enqueued, s"): 6.0,
    ("workflows", "the step after them begins, ms"): 100.0,
    ("workflows", "the step after 50 members begins, worst ms"): 100.0,
    ("workflows", "16 processes, waits for a lock > 10 ms"): 0.0,
}
AT_LEAST = {
    ("backlog", "final rows ÷ empty"): 0.9,
    ("backlog", "many queued ÷ few"): 0.95,
    ("limits", "1,000 keys ÷ no limit"): 0.8,
    ("limits", "one key ÷ --group-size 1"): 0.625,
    ("workflows", "members ÷ no workflow"): 0.8,
    ("workflows", "steps ÷ jobs that enqueue the next"): 0.5,
}


def main() -> int:
    """Measure, print a table, and exit with 1 if a promise was not kept in any repetition."""
    options = parse()
    missed = 0
    with site(options.db) as directory:
        from .measures import BENCHMARKS

        for name in options.names or NAMES:
            runs = [BENCHMARKS[name](directory) for _ in range(options.repeat)]
            for figure in runs[0]:
                missed += not report(name, figure, sorted(run[figure] for run in runs), options.db)
    return 1 if missed else 0


def report(name: str, figure: str, values: list[float], database: str) -> bool:
    """Print one line. False if there is a target and even the best repetition misses it."""
    most, least = AT_MOST.get((name, figure)), AT_LEAST.get((name, figure))
    is_met = (most is None or values[0] <= most) and (least is None or values[-1] >= least)
    spread = f"{values[0]:9.2f} … {values[-1]:9.2f}" if len(values) > 1 else f"{values[0]:9.2f}"
    target = f"≤ {most:g}" if most is not None else f"≥ {least:g}" if least is not None else ""
    verdict = f"target {target}: {'kept' if is_met else 'MISSED'}" if target else ""
    sys.stdout.write(f"{database:9} {name:12} {figure:42} {spread}  {verdict}\n")
    sys.stdout.flush()
    return is_met


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.run")
    parser.add_argument("names", nargs="*", metavar="|".join(NAMES))
    parser.add_argument("--db", choices=("sqlite", "postgres", "mysql"), default="sqlite")
    parser.add_argument("--repeat", type=int, default=1, help="best and worst of so many runs")
    options = parser.parse_args()
    if unknown := set(options.names) - set(NAMES):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    return options


if __name__ == "__main__":
    sys.exit(main())
