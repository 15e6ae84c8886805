"""The pytest fixture `bgtasks`."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import pytest


@pytest.fixture
def bgtasks(db: None) -> Iterator[ModuleType]:
    """`django_bgtasks.testing`, with Redis left out: enqueue, then `bgtasks.run_jobs()`."""
    from django_bgtasks import testing

    with testing.without_redis():
        yield testing
