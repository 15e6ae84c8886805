"""The places that a run leaves out exist: a renamed file must not change what is tested."""

from __future__ import annotations

from . import selection
from .selection import HERE


def test_each_place_that_a_part_names_is_there() -> None:
    places = selection.PLAN | selection.TEXTS | selection.NOT_THE_DATABASE | {selection.PATH}
    places |= {HERE / "faults" / name for name in selection.ON_MARIADB}
    places |= {HERE / "worker" / name for name in selection.ON_EACH_VERSION}
    places |= selection.WHOLE_PLAN
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
