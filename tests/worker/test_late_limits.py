"""A limit that comes just when its task has ended: it is that task's, and no later one's."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from types import FrameType
from typing import Any

import pytest
from django.db import connections

from django_bgtasks.core.errors import Interruption, JobCancelled
from django_bgtasks.sandbox import call
from django_bgtasks.sandbox.call import (
    cancel_thread,
    confirm_cancellation,
    deadline,
    interrupt_overdue,
    run_in_sandbox,
)
from django_bgtasks.sandbox.restore import CANCEL_SIGNAL

pytestmark = pytest.mark.django_db
FILES = (call.__file__, contextlib.__file__)
# Seconds, and more than the test itself may take.
LONG = 10_000.0
OVER, CANCELLED = "The attempt took longer than its timeout of 0 s.", "Cancelled on request."


@pytest.fixture
def cancellable() -> Iterator[None]:
    """As in a worker, which knows that the signal is for the job that runs."""
    confirm_cancellation(lambda: True)
    before = signal.signal(CANCEL_SIGNAL, signal.SIG_IGN)
    yield
    signal.signal(CANCEL_SIGNAL, before)
    call._is_cancelled.clear()


class At:
    """Calls interrupt() at the n-th of all instants from the end of a task to its last limit."""

    def __init__(self, n: int, interrupt: Callable[[], object]) -> None:
        self.left, self.interrupt = n, interrupt

    def task(self) -> None:
        """Begin to count when this ends."""
        frame: FrameType | None = sys._getframe()
        sys.settrace(self.trace)
        while frame is not None:
            if frame.f_code.co_filename in FILES:
                frame.f_trace = self.trace
            frame = frame.f_back

    def trace(self, frame: FrameType, event: str, argument: object) -> Any:
        """Called at each call, line and return."""
        if frame.f_code.co_filename not in FILES:
            return None
        self.left -= 1
        if not self.left:
            sys.settrace(None)
            self.interrupt()
        return self.trace


def run(seconds: float, n: int, interrupt: Callable[[], object]) -> tuple[Interruption | None, int]:
    """Run a task; what its caller got, and how many instants there would have been still."""
    at, tracer = At(n, interrupt), sys.gettrace()
    try:
        run_in_sandbox(at.task, deadline(seconds))
    except Interruption as error:
        return error, at.left
    finally:
        sys.settrace(tracer)
    return None, at.left


def elsewhere(act: Callable[[], object]) -> None:
    """In another thread, as a worker does it; it may have to wait for this one."""
    thread = threading.Thread(target=act)
    thread.start()
    thread.join(0.5)


def cancels_itself() -> None:
    cancel_thread(threading.get_ident())
    for _ in range(100_000):
        continue


def in_a_thread() -> list[tuple[str, str]]:
    """For each instant what the task got, and then the next one of the thread."""
    found = []
    for n in count(1):
        error, left = run(0, n, lambda: elsewhere(interrupt_overdue))
        with pytest.raises(JobCancelled) as cancelled:
            run_in_sandbox(cancels_itself, deadline(60))
        found.append((str(error), str(cancelled.value)))
        if left > 0:
            break
    connections.close_all()
    return found


def test_a_timeout_at_any_instant_of_the_end_of_a_task_in_a_thread_is_its_own() -> None:
    with ThreadPoolExecutor() as pool:
        found = pool.submit(in_a_thread).result(60)
    # Those who come too late are not heard.
    assert {next_one for _, next_one in found} == {CANCELLED}
    assert {own for own, _ in found} == {OVER, "None"}
    assert call._thread_limits == {}


@pytest.mark.usefixtures("cancellable")
def test_a_cancellation_at_any_instant_of_the_end_of_a_task_is_its_own() -> None:
    before, found = signal.getsignal(CANCEL_SIGNAL), set()
    for n in count(1):
        error, left = run(LONG, n, lambda: signal.raise_signal(CANCEL_SIGNAL))
        assert signal.getsignal(CANCEL_SIGNAL) == before
        assert signal.getitimer(signal.ITIMER_REAL)[0] < LONG
        found.add(str(error))
        if left > 0:
            break
    assert found == {CANCELLED, "None"}
