"""The fixtures of `celery.contrib.pytest`: `pytest_plugins = [...]` names this module."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ..app.base import current_app
from .testing.worker import start_worker


@pytest.fixture(scope="session")
def celery_config() -> dict[str, Any]:
    """Settings of the app; there is one for all tests."""
    return {}


@pytest.fixture
def celery_app() -> Any:
    """The app of the site."""
    return current_app


@pytest.fixture(scope="session")
def celery_session_app() -> Any:
    """The app of the site."""
    return current_app


@pytest.fixture
def celery_worker() -> Iterator[None]:
    """Jobs run where they are enqueued: see start_worker()."""
    with start_worker():
        yield


@pytest.fixture(scope="session")
def celery_session_worker() -> Iterator[None]:
    """Jobs run where they are enqueued: see start_worker()."""
    with start_worker():
        yield
