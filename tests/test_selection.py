"""The places that a run leaves out exist: a renamed file must not change what is tested."""

from __future__ import annotations

import re

import pytest
import yaml

from . import selection
from .selection import HERE, file_is_left_out

ROOT = HERE.parent


def test_each_place_that_a_part_names_is_there() -> None:
    places = selection.PLAN | selection.TEXTS | selection.NOT_THE_DATABASE | {selection.PATH}
    places |= {HERE / "faults" / name for name in selection.ON_MARIADB}
    places |= {HERE / "worker" / name for name in selection.ON_EACH_VERSION}
    places |= selection.WHOLE_PLAN | selection.NOT_IN_A_SAMPLE | selection.ELSEWHERE_ON_POSTGRES
    assert not [place for place in places if not place.exists()]


def test_no_file_that_another_database_leaves_out_has_a_test_for_it() -> None:
    left_out = [
        path
        for path in HERE.rglob("test_*.py")
        if {path, *path.parents} & selection.NOT_THE_DATABASE
    ]
    marked = {
        path.name
        for path in left_out
        if any(f"mark.{name}" in path.read_text() for name in ("postgres", "mysql"))
    }
    assert marked == selection.MIXED


def test_what_is_elsewhere_on_postgres_is_in_the_plan_or_in_a_version() -> None:
    assert not [
        path
        for path in selection.ELSEWHERE_ON_POSTGRES
        if path.parent != HERE / "faults" and file_is_left_out(path, "versions")
    ]


@pytest.mark.parametrize("part", selection.PARTS)
def test_no_part_leaves_out_the_directory_of_a_test_that_it_has(part: str) -> None:
    files = [path for path in HERE.rglob("test_*.py") if not file_is_left_out(path, part)]
    directories = {path.parent for path in files}
    assert not [path for path in directories if file_is_left_out(path, part)]
    assert directories


def test_what_is_sampled_in_one_job_is_whole_in_another() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    environments = [
        name for job in jobs["run"]["strategy"]["matrix"]["include"] for name in job["what"].split()
    ]
    script = (ROOT / ".ci/run").read_text()
    assert "--part=sample" in script
    sampled = re.findall(r"versions\+=\S+-(\w+)", script)
    assert sampled == ["sqlite", "pg16", "mysql"]
    whole = {name.rpartition("-")[2] for name in environments}
    assert whole == {"faults", "browser", "unfold", *sampled}
