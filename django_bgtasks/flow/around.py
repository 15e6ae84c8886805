"""Where bridges to other systems join in. Empty, it costs a truth test for each job."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .context import JobContext

Around = Callable[["JobContext"], AbstractContextManager[object]]
# Entered around the function of each task, in the thread or on the event loop that runs it.
AROUND: list[Around] = []
# Called in a process of a worker that ends in order: it has no other end.
LEAVING: list[Callable[[], object]] = []


@contextmanager
def surrounded(context: JobContext) -> Iterator[None]:
    """Within it all of AROUND are entered, the first one outermost."""
    with ExitStack() as stack:
        for around in AROUND:
            stack.enter_context(around(context))
        yield
