"""Run other projects' own tests of the tasks API against this backend, and count what passes.

`tox run -e conformance`. It fails if a test fails that is not in not_applicable.toml, if one passes
that is listed there as failing, or if docs/conformance.md has other counts; `-- --write` writes
them. The tests come from the source packages on PyPI, and nothing of them is kept here.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .sources import SUITES, Suite, pip, suites_of_a_checkout, unpacked

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "conformance.md"
LIST = Path(__file__).with_name("not_applicable.toml")
BEGIN, END = "<!-- counts -->\n", "<!-- end of counts -->\n"


@dataclass
class Report:
    """What a suite came to."""

    suite: Suite
    passed: Mapping[str, bool]
    fails: Mapping[str, str]
    not_run: int
    faults: list[str] = field(default_factory=list)

    def find_faults(self) -> None:
        """What the list does not say, or says no longer."""
        for test, passed in sorted(self.passed.items()):
            if not passed and test not in self.fails:
                self.faults.append(f"failed, and is not listed: {test}")
            if passed and test in self.fails:
                self.faults.append(f"passes, and is listed as not applicable: {test}")
        gone = self.fails.keys() - self.passed.keys()
        self.faults += [f"is listed, and not there: {test}" for test in sorted(gone)]

    @property
    def row(self) -> str:
        """Its row of the table."""
        good = sum(self.passed.values())
        apart = len(self.fails) + self.not_run
        return f"| {self.suite.name} | {len(self.passed) + self.not_run} | {good} | {apart} |"


def main() -> None:
    """Run all suites, or those that are named."""
    parser = argparse.ArgumentParser(prog="tox run -e conformance --")
    parser.add_argument("--write", action="store_true", help="write the counts into the page")
    parser.add_argument("--backport", metavar="DIR", help="run the backport's own, of a checkout")
    options = parser.parse_args()
    suites = suites_of_a_checkout(options.backport) if options.backport else SUITES
    listed = tomllib.loads(LIST.read_text())
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        reports = [run(suite, directory, listed) for suite in suites]
    for report in reports:
        print(report.row, *report.faults, sep="\n    ")
    if options.write:
        write(reports, listed)
    if any(report.faults for report in reports):
        sys.exit(1)
    if not options.backport and table(reports, listed) not in PAGE.read_text():
        sys.exit(f"{PAGE.name} has other counts: `tox run -e conformance -- --write`")


def run(suite: Suite, directory: Path, listed: Any) -> Report:
    """Run one suite in a process of its own."""
    root, outcomes = unpacked(suite, directory), directory / "outcomes.json"
    patterns = [p for some in listed["not_run"].get(suite.name, {}).values() for p in some]
    path = [str(root), str(ROOT), *site_of(suite, directory)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
    environment["BGTASKS_CONFORMANCE"] = suite.package
    command = [sys.executable, "-m", "tests.conformance.suite", suite.package, str(outcomes)]
    command += patterns
    done = subprocess.run(
        command, cwd=ROOT, env=environment, text=True, capture_output=True, check=False
    )
    fails = {
        test: why for why, tests in listed["fails"].get(suite.name, {}).items() for test in tests
    }
    if done.returncode:
        return Report(suite, {}, fails, 0, [f"did not run: {done.stderr}"])
    found = json.loads(outcomes.read_text())
    report = Report(suite, found["passed"], fails, found["not_run"])
    report.find_faults()
    if report.faults:
        report.faults.append(done.stderr)
    return report


def site_of(suite: Suite, directory: Path) -> Iterator[str]:
    """Where this suite's Django is, if it is not the installed one."""
    import django

    if not django.get_version().startswith(suite.django):
        target = directory / f"django-{suite.django}"
        if not target.exists():
            pip("install", "--no-deps", f"django=={suite.django}.*", "--target", str(target))
        yield str(target)


def table(reports: list[Report], listed: Any) -> str:
    """The counts, and the reasons, as the page has them."""
    lines = [
        "| whose tests | there are | pass | do not apply |",
        "|---|---:|---:|---:|",
        *(report.row for report in reports),
    ]
    for name in [suite.name for suite in SUITES]:
        reasons = {
            **listed["fails"].get(name, {}),
            **listed["not_run"].get(name, {}),
        }
        lines += ["", f"**{name}**, what does not apply:", ""]
        lines += [f"- {why} ({_number(tests)})" for why, tests in reasons.items()]
    return "\n".join(lines) + "\n"


def _number(tests: list[str]) -> str:
    whole = any("*" in test for test in tests)
    return "whole groups" if whole else f"{len(tests)} test{'s' * (len(tests) > 1)}"


def write(reports: list[Report], listed: Any) -> None:
    """Put the counts into the page."""
    text = PAGE.read_text()
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    PAGE.write_text(f"{head}{BEGIN}{table(reports, listed)}{END}{tail}")


if __name__ == "__main__":
    main()
