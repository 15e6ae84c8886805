"""Where bridges to other systems join in. Empty, it costs a truth test for each job."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from ..core.outcomes import Outcome

if TYPE_CHECKING:
    from ..models import Job
    from .context import JobContext

Sending = Callable[[Sequence["Job"], int], AbstractContextManager[object]]
Around = Callable[["JobContext"], AbstractContextManager[object]]
Failed = Callable[["Job", Any, Outcome], object]
# Entered around the insert of jobs, with their unsaved rows and how many there will be: jobs that
# differ in their arguments only have one row before they are inserted.
SENDING: list[Sending] = []
# Entered around the function of each task, in the thread or on the event loop that runs it.
AROUND: list[Around] = []
# Called with the job, its task and its settlement once an attempt that failed is settled, and while
# its exception is handled. Without exception and task if the process died with the attempt.
FAILED: list[Failed] = []
# Called in a process of a worker that ends in order: it has no other end.
LEAVING: list[Callable[[], object]] = []


@contextmanager
def surrounded(context: JobContext) -> Iterator[None]:
    """Within it all of AROUND are entered, the first one outermost."""
    with ExitStack() as stack:
        for around in AROUND:
            stack.enter_context(around(context))
        yield


def sending(jobs: Sequence[Job], number: int) -> AbstractContextManager[object]:
    """Within it these jobs are inserted."""
    if not SENDING:
        return nullcontext()
    stack = ExitStack()
    for around in SENDING:
        stack.enter_context(around(jobs, number))
    return stack


def tell_failed(job: Job, task: Any, settlement: Outcome) -> None:
    """Let all of FAILED know of this settlement, if it is of a failure."""
    if settlement.failure is not None:
        for failed in FAILED:
            failed(job, task, settlement)
