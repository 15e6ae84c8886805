"""A site that was written for Celery passes its own tests with other imports."""

from __future__ import annotations

from pathlib import Path

from .sites import copy_site, run_tests

# What replaces the beginnings of import lines; see docs/moving.md.
CELERY = {
    "from celery": "from django_bgtasks.contrib.celery",
}
COUNT = "Ran 40 tests"


def test_a_site_of_celery_moves_by_its_imports(tmp_path: Path) -> None:
    site = copy_site("celery_site", tmp_path, CELERY)
    assert COUNT in run_tests(site, "site1.moved_settings", "")
