"""The same sites with the packages that they were written for: `tox run -e moving` has them."""

from __future__ import annotations

from pathlib import Path

from testproject.servers import RedisServer

from .sites import copy_site, run_tests


def test_the_site_of_django_rq_as_it_was_written(own_redis: RedisServer, tmp_path: Path) -> None:
    site = copy_site("rq_site", tmp_path, {})
    assert "Ran 18 tests" in run_tests(site, "site1.settings", own_redis.url)


def test_the_site_of_huey_as_it_was_written(own_redis: RedisServer, tmp_path: Path) -> None:
    site = copy_site("huey_site", tmp_path, {})
    assert "Ran 20 tests" in run_tests(site, "site1.settings", own_redis.url)
