"""The same sites with the packages that they were written for: `tox run -e moving` has them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from testproject.servers import RedisServer

from .sites import ROOT, copy_site, run_tests


def test_the_site_of_django_rq_as_it_was_written(own_redis: RedisServer, tmp_path: Path) -> None:
    site = copy_site("rq_site", tmp_path, {})
    assert "Ran 18 tests" in run_tests(site, "site1.settings", own_redis.url)


def test_the_site_of_huey_as_it_was_written(own_redis: RedisServer, tmp_path: Path) -> None:
    site = copy_site("huey_site", tmp_path, {})
    assert "Ran 20 tests" in run_tests(site, "site1.settings", own_redis.url)


def test_bgimport_reads_the_rows_and_keys_of_the_original_packages(
    own_redis: RedisServer, tmp_path: Path
) -> None:
    site = copy_site("import_site", tmp_path, {})
    assert "Ran 10 tests" in run_some(site, "site1.settings", own_redis.url, "stock.tests")


def test_bgimport_reads_the_keys_of_rq_scheduler(own_redis: RedisServer, tmp_path: Path) -> None:
    site = copy_site("import_site", tmp_path, {})
    scheduler = os.environ["BGTASKS_TEST_RQ_SCHEDULER"]
    label, settings = "stock.tests_scheduler", "site1.scheduler_settings"
    assert "Ran 1 test" in run_some(site, settings, own_redis.url, label, scheduler)


def run_some(site: Path, settings: str, redis_url: str, label: str, *paths: str) -> str:
    """run_tests(), of one module. paths: where modules are looked for first."""
    places = os.pathsep.join([*paths, str(ROOT)])
    env = {**os.environ, "REDIS_URL": redis_url, "PYTHONPATH": places}
    command = [sys.executable, "manage.py", "test", label, f"--settings={settings}"]
    done = subprocess.run(
        command, cwd=site, env=env, capture_output=True, text=True, check=False, timeout=100
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    return output
