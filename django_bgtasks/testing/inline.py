"""Run the jobs of a test inline: by the code that enqueues them, after its commit."""

from __future__ import annotations

from django.test.utils import TestContextDecorator

from ..jobs.task import forced_inline


class inline_jobs(TestContextDecorator):  # noqa: N801 - it is used like override_settings
    """Within it every job runs in the process that enqueues it, after its commit.

    A context manager, and a decorator of functions and of test cases. propagate: raise the
    exception of a failed attempt there, too, from enqueue() or from the end of the transaction.

    It counts for all threads of the process. A TestCase never commits: enqueue within its
    captureOnCommitCallbacks(execute=True).
    """

    def __init__(self, propagate: bool = False) -> None:
        super().__init__()
        self.propagate = propagate

    def enable(self) -> None:
        """From now on."""
        forced_inline.append(self.propagate)

    def disable(self) -> None:
        """As before."""
        forced_inline.pop()
