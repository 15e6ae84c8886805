"""A worker within a test: what is enqueued runs before the call returns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ...at_once import running_at_once


@contextmanager
def start_worker(app: Any = None, **options: Any) -> Iterator[None]:
    """Within it jobs run where they are enqueued, in the transaction of the test if there is one,
    and their rows are written. Those for later wait.

    options: about threads, pools and pings, of which there are none.
    """
    with running_at_once():
        yield
