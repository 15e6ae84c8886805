"""The tables about peers in docs/reliability.md, made from what was recorded.

`python -m tests.faults.peers.tables FILE` writes them between the marks of the page.
"""

from __future__ import annotations

import platform
import statistics
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from tests.faults.report import PAGE, Entry, entries_of, with_table

from .adapter import PLACES, Adapter, adapter_of

MARK = "peers"
HEAD = (
    "| | what was injected | times | jobs | lost | not within 60 s | failed | ran twice |"
    " recovery: median | worst | remarks |\n"
    "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|---|\n"
)


def write(report: Path) -> None:
    """Put the tables of a report into the page."""
    rows = entries_of(report.read_text().splitlines())
    measured = datetime.fromtimestamp(report.stat().st_mtime, UTC).date()
    PAGE.write_text(with_table(PAGE.read_text(), MARK, text_of(rows, f"{measured}")))


def text_of(rows: list[Entry], measured: str) -> str:
    """The overview, and a table for each system."""
    systems = [adapter_of(name) for name in PLACES if any(row.system == name for row in rows)]
    parts = [head_of(systems, measured), overview(systems, rows)]
    parts += [table_of(system, rows) for system in systems]
    return "\n".join(parts)


def head_of(systems: list[Adapter], measured: str) -> str:
    """When, and which versions."""
    versions = dict.fromkeys(v for system in systems for v in system.versions.split(", "))
    python = f"Python {platform.python_version()}"
    return f"Measured on {measured} with {', '.join([python, *versions])}.\n"


def overview(systems: list[Adapter], rows: list[Entry]) -> str:
    """One row a case, one column a system."""
    found = {(row.system, row.section): row for row in rows}
    cases = dict(sorted({row.section: row.injected for row in rows}.items()))
    lines = [["", "what was injected", *(system.title for system in systems)]]
    lines += [["---"] * len(lines[0])]
    for section, injected in cases.items():
        cells = [found.get((system.name, section)) for system in systems]
        lines += [[section, injected, *("" if cell is None else verdict(cell) for cell in cells)]]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def verdict(row: Entry) -> str:
    """A case in a few words."""
    if not row.times:
        return "–"
    return "; ".join(_bad(row)) or _good(row)


def _bad(row: Entry) -> Iterator[str]:
    counts = {"lost": row.lost, "not within 60 s": row.late, "failed": row.failed}
    for words, count in counts.items():
        if count:
            yield f"**{count:,} of {row.jobs:,} {words}**"
    if row.again:
        yield f"{row.again} of {row.jobs:,} ran twice"


def _good(row: Entry) -> str:
    if not row.recovery:
        return "none lost" if "none" not in row.remark else row.remark
    return f"all ran, {max(row.recovery):.1f} s"


def table_of(system: Adapter, rows: list[Entry]) -> str:
    """All that was counted for one system."""
    lines = "".join(line_of(row) for row in rows if row.system == system.name)
    return f"### {system.title}\n\nOptions: {system.options}.\n\n{HEAD}{lines}"


def line_of(row: Entry) -> str:
    """One row of it."""
    counts = (row.times, row.jobs, row.lost, row.late, row.failed, row.again)
    took = ["–", "–"]
    if row.recovery:
        took = [f"{of(row.recovery):.1f} s" for of in (statistics.median, max)]
    figures = ["–"] * len(counts) if not row.times else [f"{count:,}" for count in counts]
    return f"| {' | '.join([row.section, row.injected, *figures, *took, row.remark])} |\n"


if __name__ == "__main__":
    write(Path(sys.argv[1]))
