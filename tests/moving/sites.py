"""A site as others write it, run with the package that it was written for, and moved."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def copy_site(name: str, directory: Path, imports: Mapping[str, str]) -> Path:
    """Copy a site to the directory, with these beginnings of its import lines replaced."""
    site = directory / name
    shutil.copytree(HERE / name, site, ignore=shutil.ignore_patterns("__pycache__"))
    for path in site.rglob("*.py"):
        if "settings" not in path.name:
            lines = [_moved(line, imports) for line in path.read_text().splitlines()]
            path.write_text("\n".join(lines) + "\n")
    return site


def run_tests(site: Path, settings: str, redis_url: str) -> str:
    """Run the site's own tests in a process of their own; what it prints. They must pass."""
    env = {**os.environ, "REDIS_URL": redis_url, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "manage.py", "test", f"--settings={settings}"]
    done = subprocess.run(
        command, cwd=site, env=env, capture_output=True, text=True, check=False, timeout=100
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    return output


def _moved(line: str, imports: Mapping[str, str]) -> str:
    for before, after in imports.items():
        if line.startswith(before):
            return after + line.removeprefix(before)
    return line
