"""The exceptions: one small tree, as it is drawn, and all that a site imports."""

from __future__ import annotations

import inspect

import pytest

import django_bgtasks
from django_bgtasks.core import errors

BARS = "│├└─ "
DRAWN = [line for line in (errors.__doc__ or "").splitlines() if "Error" in line or "──" in line]
CLASSES = {
    name: cls for name, cls in vars(errors).items() if inspect.isclass(cls) and name[0].isupper()
}


def test_every_exception_is_in_the_drawing_below_its_base() -> None:
    above: list[str] = []
    drawn = {}
    for line in DRAWN:
        depth = (len(line) - len(line.lstrip(BARS))) // 4
        name = line.lstrip(BARS).split()[0]
        above[depth:] = [name]
        drawn[name] = above[depth - 1] if depth else "Exception"
    exceptions = {name: cls for name, cls in CLASSES.items() if issubclass(cls, Exception)}
    assert drawn == {name: cls.__bases__[0].__name__ for name, cls in exceptions.items()}


@pytest.mark.parametrize("name", django_bgtasks.__all__)
def test_what_the_package_names_can_be_imported_from_it(name: str) -> None:
    assert getattr(django_bgtasks, name) is not None


def test_what_the_package_does_not_name_cannot() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nope'"):
        _ = django_bgtasks.nope
