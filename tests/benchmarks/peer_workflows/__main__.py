"""`tox run -e peer-workflows -- [--only bgtasks,huey] [--rounds 3] [--kills 3]`.

Prints two tables in Markdown: the times, and what comes of a chord whose worker is killed. The
rounds of the times are interleaved. The kills hit all systems at once: only the hangs take long.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from .systems import SYSTEMS

LIMIT = 60.0


def main() -> None:
    """Measure, and print the tables."""
    options = parse()
    names = options.only.split(",")
    print_out(head_of(names))
    if options.rounds:
        print_out(table_of_times(names, options.rounds))
    if options.kills:
        print_out(table_of_kills(names, options.kills))


def head_of(names: list[str]) -> str:
    """When, and which versions."""
    packages = dict.fromkeys(package for name in names for package in SYSTEMS[name].packages)
    versions = [f"{package} {version(package)}" for package in packages]
    today = datetime.now(UTC).date()
    return f"Measured on {today} with Python {platform.python_version()}, {', '.join(versions)}.\n"


def table_of_times(names: list[str], rounds: int) -> str:
    """Medians with their ranges, and the medians of the ratios within each round to the first."""
    timed = [name for name in names if SYSTEMS[name].times]
    found: dict[str, list[Any]] = {name: [] for name in timed}
    for number in range(rounds):
        for name in timed if number % 2 == 0 else reversed(timed):
            figures = measured(name, "times")
            sys.stderr.write(f"{name}: {figures}\n")
            found[name].append(figures)
    lines = ["| | chord of 1,000, s | ratio | chain of 100, s | ratio |", "|---|--:|--:|--:|--:|"]
    for name, rows in found.items():
        cells = (cells_of(rows, found[timed[0]], shape) for shape in ("chord", "chain"))
        lines.append(f"| {SYSTEMS[name].title} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def cells_of(rows: list[Any], others: list[Any], shape: str) -> str:
    """Two cells: the seconds, and the ratio to the others' in the same round."""
    values = [row[shape] for row in rows if row]
    ratios = [
        row[shape] / other[shape] for row, other in zip(rows, others, strict=True) if row and other
    ]
    return f"{cell_of(values)} | {statistics.median(ratios):.2f}" if values else "– | –"


def cell_of(values: list[float]) -> str:
    """A median with its range."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def table_of_kills(names: list[str], kills: int) -> str:
    """What came of each chord."""
    lines = [
        "| | last step ran within 60 s | after, s | members that did not run | that ran twice |",
        "|---|---|---|---|---|",
    ]
    found: dict[str, list[Any]] = {name: [] for name in names}
    for _ in range(kills):
        with ThreadPoolExecutor(len(names)) as systems:
            for name, figures in zip(names, systems.map(measured_kill, names), strict=True):
                sys.stderr.write(f"{name}: {figures}\n")
                found[name] += [figures] if figures else []
    return "\n".join(lines + [line_of_kills(name, rows) for name, rows in found.items()]) + "\n"


def measured_kill(name: str) -> Any:
    """The figures of one kill."""
    return measured(name, "kill")


def line_of_kills(name: str, rows: list[Any]) -> str:
    """One system: a figure for each kill."""
    after = [row["callback after"] for row in rows]
    within = sum(seconds is not None and seconds <= LIMIT for seconds in after)
    cells = [
        f"{within} of {len(rows)}",
        ", ".join("–" if seconds is None else f"{seconds:.1f}" for seconds in after),
        *(", ".join(str(row[figure]) for row in rows) for figure in ("did not run", "ran twice")),
    ]
    return f"| {SYSTEMS[name].title} | {' | '.join(cells)} |"


def measured(name: str, what: str) -> Any:
    """The figures of one measurement in a process of its own; None if it broke off."""
    command = [sys.executable, "-m", f"{__package__}.one", name, what]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    return None if done.returncode else json.loads(done.stdout.splitlines()[-1])


def print_out(text: str) -> None:
    """A part of the report."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.peer_workflows")
    parser.add_argument("--only", default=",".join(SYSTEMS), metavar="SYSTEM,…")
    parser.add_argument("--rounds", type=int, default=3, help="of the times")
    parser.add_argument("--kills", type=int, default=3, help="of each system's worker")
    return parser.parse_args()


if __name__ == "__main__":
    main()
