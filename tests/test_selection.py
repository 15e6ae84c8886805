"""The places that a run leaves out exist: a renamed file must not change what is tested."""

from __future__ import annotations

from . import selection
from .selection import HERE


def test_each_place_that_a_part_names_is_there() -> None:
    places = selection.PLAN | selection.TEXTS | selection.NOT_THE_DATABASE | {selection.PATH}
    places |= {HERE / "faults" / name for name in selection.ON_MARIADB}
    places |= {HERE / "worker" / name for name in selection.ON_EACH_VERSION}
    assert not [place for place in places if not place.exists()]
