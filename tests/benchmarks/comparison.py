"""`python -m tests.benchmarks.comparison RESULT.json [--write docs/performance.md]`.

The tables of a run of the comparison: medians, spreads, and what we are in ratio to the peers.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

TITLES = {
    "bgtasks": "**django_bgtasks**",
    "bgtasks_single": "django_bgtasks `--group-size 1`",
    "procrastinate": "Procrastinate",
    "huey": "Huey, process workers; no record",
    "celery": "Celery, no results",
}
COLUMNS = {
    "enqueue/s": ("enqueue", 0),
    "bulk/s": ("bulk", 0),
    "c1": ("drain1.rate", 0),
    "c2": ("drain2.rate", 0),
    "c2 recorded": ("drain2.rate_recorded", 0),
    "CPU ms/job": ("drain1.worker_cpu_ms_per_task", 2),
    "pickup p50 ms": ("pickup.p50", 1),
    "pickup p99 ms": ("pickup.p99", 1),
    "PSS MiB": ("pickup.memory.pss", 0),
}
# What, whose figure, over whose, and the target. A colon names another figure of the other one.
RATIOS = [
    ("c2 recorded ÷ Procrastinate", "bgtasks", "c2 recorded", "procrastinate", "≥ 10"),
    ("c2 recorded ÷ Huey's c2", "bgtasks", "c2 recorded", "huey:c2", "≥ 1.3"),
    ("c1 ÷ Procrastinate", "bgtasks", "c1", "procrastinate", "≥ 9"),
    ("c2, `--group-size 1` ÷ Procrastinate", "bgtasks_single", "c2", "procrastinate", "≥ 2"),
    ("enqueue ÷ Procrastinate", "bgtasks", "enqueue/s", "procrastinate", "≥ 1.0"),
    ("enqueue ÷ Celery", "bgtasks", "enqueue/s", "celery", "≥ 1.0"),
    ("bulk ÷ Procrastinate", "bgtasks", "bulk/s", "procrastinate", "≥ 1.3"),
    ("pickup p50 ÷ Celery's", "bgtasks", "pickup p50 ms", "celery", "≤ 1.2"),
    ("pickup p99 ÷ own p50", "bgtasks", "pickup p99 ms", "bgtasks:pickup p50 ms", "≤ 2"),
]
BEGIN, END = "<!-- comparison -->", "<!-- end of comparison -->"


def main() -> None:
    """Print the tables, or put them between the marks of a document."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.comparison")
    parser.add_argument("result", type=Path)
    parser.add_argument("--write", type=Path, help="a document with the marks")
    options = parser.parse_args()
    tables = report(json.loads(options.result.read_text())["results"])
    if options.write is None:
        sys.stdout.write(tables)
        return
    head, _, rest = options.write.read_text().partition(BEGIN)
    options.write.write_text(f"{head}{BEGIN}\n\n{tables}\n{END}{rest.partition(END)[2]}")


def report(results: list[dict[str, Any]]) -> str:
    """Two tables in Markdown."""
    rounds = {name: [each for each in results if each["name"] == name] for name in TITLES}
    lines = [f"| | {' | '.join(COLUMNS)} | spread of c2 |", "|---" * (len(COLUMNS) + 2) + "|"]
    for name, title in TITLES.items():
        cells = [cell_of(median(rounds[name], path), places) for path, places in COLUMNS.values()]
        lines.append(f"| {title} | {' | '.join(cells)} | {spread(rounds[name], 'drain2.rate')} |")
    lines += ["", "| ratio | target | measured |", "|---|---|---|"]
    for label, label_of_ours, figure, other, target in RATIOS:
        name, _, column = other.partition(":")
        own = median(rounds[label_of_ours], COLUMNS[figure][0])
        other_median = median(rounds[name], COLUMNS[column or figure][0])
        ratio = own / other_median if own and other_median else None
        lines.append(f"| {label} | {target} | {cell_of(ratio, 2)} |")
    return "\n".join(lines) + "\n"


def values(results: list[dict[str, Any]], path: str) -> list[float]:
    """A figure in each round that has it."""
    found = []
    for result in results:
        value: Any = result
        for key in path.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None:
            found.append(float(value))
    return found


def median(results: list[dict[str, Any]], path: str) -> float | None:
    """The median over the rounds; None without any."""
    found = values(results, path)
    return statistics.median(found) if found else None


def spread(results: list[dict[str, Any]], path: str) -> str:
    """The range in parts of the median over the rounds."""
    found = values(results, path)
    if len(found) < 2:
        return "–"
    return f"{(max(found) - min(found)) / statistics.median(found):.0%}"


def cell_of(value: float | None, places: int) -> str:
    """A figure as the tables have it."""
    return "–" if value is None else f"{value:,.{places}f}"


if __name__ == "__main__":
    main()
