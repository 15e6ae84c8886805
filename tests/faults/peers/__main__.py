"""`tox run -e peers -- [--only bgtasks,rq] [--cases A1,A2] [--report FILE] [--render FILE]`.

Without options: all systems, and the tables of docs/reliability.md are written. Takes an hour.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.faults.report import VARIABLE

from .adapter import PLACES


def main() -> int:
    """Measure each system in a process of its own, and write the tables."""
    options = parse()
    report = options.report or str(Path(tempfile.mkdtemp(prefix="bgtasks-peers-")) / "report.jsonl")
    os.environ[VARIABLE] = report
    cases = options.cases.split(",") if options.cases else []

    def measured(name: str) -> int:
        command = [sys.executable, "-m", "tests.faults.peers.one", name, *cases]
        return subprocess.run(command, check=False).returncode

    with ThreadPoolExecutor(options.at_once) as systems:
        codes = list(systems.map(measured, options.only.split(",")))
    sys.stdout.write(f"What was measured: {report}\n")
    if not any(codes) and not cases and set(options.only.split(",")) == set(PLACES):
        from .tables import write

        write(Path(report))
    return max(codes)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.peers")
    parser.add_argument("--only", default=",".join(PLACES), metavar="SYSTEM,…")
    parser.add_argument("--cases", default="", metavar="A1,…")
    parser.add_argument("--report", default="", metavar="FILE")
    parser.add_argument("--at-once", type=int, default=1, metavar="SYSTEMS")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
