"""The same sites with the packages that they were written for: `tox run -e moving` has them."""

from __future__ import annotations

import os
from pathlib import Path

from testproject.servers import RedisServer

from .sites import copy_site, run_tests


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
    assert "Ran 10 tests" in run_tests(site, "site1.settings", own_redis.url, "stock.tests")


def test_bgimport_reads_the_keys_of_rq_scheduler(own_redis: RedisServer, tmp_path: Path) -> None:
    site = copy_site("import_site", tmp_path, {})
    scheduler = os.environ["BGTASKS_TEST_RQ_SCHEDULER"]
    label, settings = "stock.tests_scheduler", "site1.scheduler_settings"
    assert "Ran 1 test" in run_tests(site, settings, own_redis.url, label, first_path=scheduler)
