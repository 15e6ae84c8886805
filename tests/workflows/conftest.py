"""What the tests of workflows share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from django_bgtasks.testing import without_redis


@pytest.fixture
def no_messages() -> Iterator[None]:
    """Jobs are queued, and nobody is told."""
    with without_redis():
        yield
