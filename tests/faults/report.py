"""The table of docs/reliability.md, made from what the cases recorded.

BGTASKS_TEST_REPORT names the file to which each case appends a line of JSON.
`python -m tests.faults.report FILE` prints the table; with `--write` it goes into the page.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

VARIABLE = "BGTASKS_TEST_REPORT"
# In the order of the table. Those of tests/faults/peers have names of their own.
SECTIONS = (
    *("Kills", "Redis", "Database", "Delivery", "Deploys", "Dedup", "Tasks", "Security", "Soak"),
    *("Isolation", "Settings"),
)
# What the table says for a section, where its name is too short for a reader.
TITLES = {
    "Isolation": "What tasks do to their process",
    "Settings": "Settings, and who else is there",
}
PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
HEAD = (
    "| | what was injected | times | jobs | lost | duplicate | ran again | recovery: median |"
    " worst |"
    "\n|---|---|--:|--:|--:|--:|--:|--:|--:|\n"
)


@dataclass
class Entry:
    """What one case saw, or all cases of one row together. recovery: seconds, one a strike.

    late: jobs that had not recovered when the limit was over; failed: shown as failed. Both, and
    the remark, are for the comparison with other systems: here no case ends with such jobs.
    """

    section: str
    injected: str
    system: str = "django_bgtasks"
    times: int = 0
    jobs: int = 0
    lost: int = 0
    duplicates: int = 0
    again: int = 0
    recovery: list[float] = field(default_factory=list)
    late: int = 0
    failed: int = 0
    remark: str = ""

    def add(self, other: Entry) -> None:
        """Count another case of the same row in."""
        self.times += other.times
        self.jobs += other.jobs
        self.lost += other.lost
        self.duplicates += other.duplicates
        self.again += other.again
        self.recovery += other.recovery
        self.late += other.late
        self.failed += other.failed
        self.remark = self.remark or other.remark

    @property
    def line(self) -> str:
        """The row in Markdown."""
        counts = (self.times, self.jobs, self.lost, self.duplicates, self.again)
        times = "–", "–"
        if self.recovery:
            middle, worst = statistics.median(self.recovery), max(self.recovery)
            times = f"{middle:.2f} s", f"{worst:.2f} s"
        cells = (TITLES.get(self.section, self.section), self.injected, *map(str, counts), *times)
        return f"| {' | '.join(cells)} |\n"


def record(entry: Entry) -> None:
    """Append one entry to the session's report, if there is to be one."""
    if path := os.environ.get(VARIABLE):
        with Path(path).open("a") as report:
            report.write(json.dumps(asdict(entry)) + "\n")


def entries_of(lines: Iterable[str]) -> list[Entry]:
    """The rows of a report, in the order of their sections; cases of one row are added up."""
    rows: dict[tuple[str, str, str], Entry] = {}
    for line in lines:
        entry = Entry(**json.loads(line))
        key = (entry.system, entry.section, entry.injected)
        rows.setdefault(key, Entry(entry.section, entry.injected, entry.system)).add(entry)
    return sorted(rows.values(), key=_place)


def _place(row: Entry) -> tuple[int, str, str]:
    place = SECTIONS.index(row.section) if row.section in SECTIONS else len(SECTIONS)
    return place, row.section, row.injected


def table_of(system: str, rows: Iterable[Entry]) -> str:
    """The table of one system."""
    return HEAD + "".join(row.line for row in rows if row.system == system)


def with_table(page: str, name: str, table: str) -> str:
    """The page with the table between `<!-- name -->` and `<!-- end of name -->`."""
    start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, _, rest = page.partition(start)
    _, _, after = rest.partition(end)
    return f"{before}{start}\n{table}\n{end}{after}"


def main(report: str, *options: str) -> None:
    """Print the tables of a report, or write them into the page."""
    rows = entries_of(Path(report).read_text().splitlines())
    tables = {system: table_of(system, rows) for system in dict.fromkeys(r.system for r in rows)}
    if "--write" in options:
        page = PAGE.read_text()
        for system, table in tables.items():
            page = with_table(page, system, table)
        PAGE.write_text(page)
    for system, table in tables.items():
        sys.stdout.write(f"{system}\n\n{table}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
