"""The examples of the documents run, and their links lead somewhere."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.core.checks import run_checks
from django.test import override_settings

from django_bgtasks import testing
from tests.interfaces.mailing import LOCMEM, sending_with

from .markdown import DOCS, PAGES, ROOT, Block, blocks_of

SETTINGS = [block for page in PAGES for block in blocks_of(page) if block.is_settings]
WITH_CODE = [page for page in DOCS if any(block.kind == "python" for block in blocks_of(page))]


@pytest.fixture
def module(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """A module for the code of one page: a task must be importable."""
    page: Path = request.param
    module = ModuleType(f"docs_{page.stem.replace('-', '_')}")
    module.__file__ = str(page)
    sys.modules[module.__name__] = module
    yield module
    del sys.modules[module.__name__]


@pytest.mark.parametrize("module", WITH_CODE, ids=lambda page: page.name, indirect=True)
@pytest.mark.usefixtures("transactional_db", "capsys")
def test_the_examples_of_a_page_run_from_top_to_bottom(module: ModuleType) -> None:
    assert module.__file__
    example = ""
    vars(module)["example"] = lambda: example
    with testing.without_redis(), sending_with(LOCMEM):
        for block in blocks_of(Path(module.__file__)):
            if block.kind == "json":
                example = block.text
            elif block.kind in ("python", "test"):
                block.run(settings_namespace(module) if block.is_settings else vars(module))


@pytest.mark.parametrize("block", SETTINGS, ids=str)
def test_settings_that_are_pasted_pass_the_checks(block: Block) -> None:
    with warnings.catch_warnings():
        # Django warns of an override of DATABASES, and 6.1 of the EMAIL_* settings.
        warnings.simplefilter("ignore")
        with override_settings(**settings_of(block)):
            assert run_checks(tags=["bgtasks", "caches", "compatibility"]) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    for target, anchor in links_of(page):
        there = (page.parent / target).resolve() if target else page
        assert there.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in anchors_of(there), f"{page.name} links to {target}#{anchor}"


def test_every_page_is_listed_in_the_index() -> None:
    index = ROOT / "docs" / "index.md"
    listed = {(index.parent / target).resolve() for target, _ in links_of(index)}
    assert set(DOCS) - listed == {index}


def settings_of(block: Block) -> dict[str, Any]:
    """What the block sets."""
    namespace: dict[str, Any] = {"BASE_DIR": ROOT, "INSTALLED_APPS": []}
    block.run(namespace)
    # The apps of the tests stay; those of an example may not exist here.
    namespace.pop("INSTALLED_APPS")
    return {name: value for name, value in namespace.items() if name.isupper()}


def settings_namespace(module: ModuleType) -> dict[str, Any]:
    """The module, with what every settings file has."""
    vars(module).setdefault("BASE_DIR", ROOT)
    return vars(module)


def links_of(page: Path) -> list[tuple[str, str]]:
    """(path, anchor) of the links that stay in the repository."""
    links = re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", page.read_text())
    return [(target, anchor) for target, anchor in links if "://" not in target]


def anchors_of(page: Path) -> set[str]:
    """The anchors that GitHub makes of the headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
