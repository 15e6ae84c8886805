"""Sites that were written for django-rq and Huey pass their own tests with other imports."""

from __future__ import annotations

from pathlib import Path

from .imports import HUEY, RQ
from .sites import copy_site, run_tests


def test_a_site_of_django_rq_moves_by_its_imports(tmp_path: Path) -> None:
    site = copy_site("rq_site", tmp_path, RQ)
    assert "Ran 18 tests" in run_tests(site, "site1.moved_settings", "")


def test_a_site_of_huey_moves_by_its_imports(tmp_path: Path) -> None:
    site = copy_site("huey_site", tmp_path, HUEY)
    assert "Ran 20 tests" in run_tests(site, "site1.moved_settings", "")
