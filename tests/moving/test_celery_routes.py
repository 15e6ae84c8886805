"""ROUTES: which tasks are ours already. original_celery.py tries them with Celery itself."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from django_bgtasks.contrib.celery import shared_task
from django_bgtasks.contrib.celery.mixed import is_mixed, is_moved
from django_bgtasks.core.options import IMPLICIT


def route(settings: Settings, routes: Any) -> None:
    """Let the default backend have these ROUTES."""
    settings.TASKS = {"default": {**IMPLICIT, "ROUTES": routes}}


def test_without_routes_all_tasks_are_ours() -> None:
    assert not is_mixed()
    assert is_moved("shop.tasks.send")


@pytest.mark.parametrize(
    ("routes", "moved"),
    [
        ({"shop.*": "bgtasks"}, {"shop.tasks.send"}),
        ({}, set()),
        ({"*": "bgtasks"}, {"shop.tasks.send", "blog.tasks.send", "send"}),
        ({"shop.tasks.*": "celery", "*": "bgtasks"}, {"blog.tasks.send", "send"}),
        ({"*": "celery", "shop.tasks.*": "bgtasks"}, set()),
        ({"*.send": "bgtasks"}, {"shop.tasks.send", "blog.tasks.send"}),
        ({"SHOP.*": "bgtasks"}, set()),
    ],
)
def test_the_first_pattern_that_matches_counts(
    settings: Settings, routes: dict[str, str], moved: set[str]
) -> None:
    route(settings, routes)
    assert is_mixed()
    names = ("shop.tasks.send", "blog.tasks.send", "send")
    assert {name for name in names if is_moved(name)} == moved


@pytest.mark.parametrize(
    ("routes", "text"),
    [
        ({"shop.*": "ours"}, "'bgtasks' or 'celery', not 'ours'"),
        (["shop.*"], "takes patterns of names of tasks"),
        ({1: "celery"}, "takes patterns of names of tasks"),
        ("shop.*", "takes patterns of names of tasks"),
    ],
)
def test_wrong_routes_are_refused_by_check(settings: Settings, routes: Any, text: str) -> None:
    route(settings, routes)
    [message] = [one for one in run_checks(tags=["bgtasks"]) if one.id == "bgtasks.E002"]
    assert text in message.msg


@pytest.mark.skipif(find_spec("celery") is not None, reason="celery is installed")
def test_routes_say_that_celery_has_to_be_installed(settings: Settings) -> None:
    route(settings, {"shop.*": "bgtasks"})
    with pytest.raises(ImproperlyConfigured, match="celery is not installed here"):
        shared_task(test_without_routes_all_tasks_are_ours)
