"""What the tests of the straight line share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from django_bgtasks.core import clock
from django_bgtasks.jobs import middleware
from django_bgtasks.models import Job


@pytest.fixture
def make_due() -> Callable[[], None]:
    """Let the time come for which the scheduled jobs wait."""

    def make() -> None:
        past = clock.now() - timedelta(seconds=1)
        Job.objects.filter(state="scheduled").update(run_after=past)

    return make


@pytest.fixture
def no_middleware(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """None for all backends, whatever a bridge has added in this process."""
    monkeypatch.setattr(middleware, "_of_all_backends", [])
    middleware.middleware_of.cache_clear()
    yield
    middleware.middleware_of.cache_clear()
