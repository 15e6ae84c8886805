"""`python -m tests.benchmarks.run [pickup|memory|enqueue|drain ...] [--db sqlite|postgres]`."""

from __future__ import annotations

import argparse
import sys

from .site import site

NAMES = ("pickup", "memory", "enqueue", "drain", "coroutines", "threads", "dashboard")
# What issue and design promise: the figure must not be above it.
TARGETS = {
    ("pickup", "median ms"): 5.0,
    ("memory", "sum MiB"): 110.0,
    ("coroutines", "1,000 × 100 ms, s"): 3.0,
    ("threads", "1,000 × 100 ms, s"): 4.0,
}


def main() -> int:
    """Measure, print a table, and exit with 1 if a promise was not kept in any repetition."""
    options = parse()
    missed = 0
    with site(options.db) as directory:
        from . import dashboard, measure, waiting

        found = {
            name: function
            for part in (measure, waiting, dashboard)
            for name, function in vars(part).items()
        }
        for name in options.names or NAMES:
            runs = [found[name](directory) for _ in range(options.repeat)]
            for figure in runs[0]:
                missed += not report(name, figure, sorted(run[figure] for run in runs), options.db)
    return 1 if missed else 0


def report(name: str, figure: str, values: list[float], database: str) -> bool:
    """Print one line. False if there is a target and even the best repetition misses it."""
    target = TARGETS.get((name, figure))
    kept = target is None or values[0] <= target
    spread = f"{values[0]:9.2f} … {values[-1]:9.2f}" if len(values) > 1 else f"{values[0]:9.2f}"
    verdict = "" if target is None else f"target ≤ {target:g}: {'kept' if kept else 'MISSED'}"
    sys.stdout.write(f"{database:9} {name:8} {figure:48} {spread}  {verdict}\n")
    sys.stdout.flush()
    return kept


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.run")
    parser.add_argument("names", nargs="*", metavar="|".join(NAMES))
    parser.add_argument("--db", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--repeat", type=int, default=1, help="best and worst of so many runs")
    options = parser.parse_args()
    if unknown := set(options.names) - set(NAMES):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    return options


if __name__ == "__main__":
    sys.exit(main())
