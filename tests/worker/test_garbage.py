"""Garbage is not looked for while a site is loaded, and afterwards as the site has it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from importlib import metadata

import pytest

from django_bgtasks.transport.connection import new_pool
from django_bgtasks.worker import garbage

OF_THE_SITE = (900, 11, 12)


@pytest.fixture(autouse=True)
def of_the_site(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(garbage, "_of_the_site", [])
    before = gc.get_threshold()
    gc.set_threshold(*OF_THE_SITE)
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


def test_the_collector_rests_until_the_site_is_loaded() -> None:
    garbage.put_off_collections()
    assert gc.get_threshold()[0] == garbage.NEVER
    garbage.keep_what_is_loaded()
    assert gc.get_threshold()[:2] == OF_THE_SITE[:2]
    assert gc.isenabled()


def test_what_a_site_says_of_the_collector_while_it_is_loaded_stays() -> None:
    garbage.put_off_collections()
    gc.disable()
    gc.set_threshold(5000, 20)
    try:
        garbage.keep_what_is_loaded()
        assert not gc.isenabled()
        assert gc.get_threshold()[:2] == (5000, 20)
    finally:
        gc.enable()


def test_a_command_that_loads_no_worker_leaves_the_collector_alone() -> None:
    garbage.keep_what_is_loaded()
    assert gc.get_threshold()[:2] == OF_THE_SITE[:2]


def test_a_connection_to_redis_reads_no_description_of_a_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def version(name: str) -> str:
        raise AssertionError(f"read for {name}")

    monkeypatch.setattr(metadata, "version", version)
    assert new_pool("default").make_connection() is not None
