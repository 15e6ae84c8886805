"""What a task has left in its process is as before when it is put back."""

from __future__ import annotations

import asyncio
import resource
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from django_bgtasks.sandbox import restore
from django_bgtasks.sandbox.restore import ProcessState

SOFT = 2**40


@pytest.mark.parametrize("timer", [signal.ITIMER_VIRTUAL, signal.ITIMER_PROF])
def test_a_timer_that_would_end_the_process_is_stopped(timer: int) -> None:
    state = ProcessState(".")
    signal.setitimer(timer, 10_000)
    state.restore()
    assert signal.getitimer(timer) == (0, 0)


@pytest.mark.parametrize("limit", restore.LIMITS)
def test_a_limit_is_as_before(limit: int) -> None:
    before = resource.getrlimit(limit)
    state = ProcessState(".")
    resource.setrlimit(limit, (before[0] - 1 if before[0] > 0 else SOFT, before[1]))
    assert state.restore_limits()
    assert resource.getrlimit(limit) == before


def test_a_loop_that_was_closed_is_given_to_nobody() -> None:
    def task() -> None:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        loop.close()

    def next_task() -> None:
        restore.restore()
        with pytest.raises(RuntimeError, match="no current event loop"):
            asyncio.get_event_loop()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(task).result()
        pool.submit(next_task).result()


def test_a_loop_that_is_open_stays_for_the_next_task() -> None:
    """Libraries keep one, with connections that belong to it."""

    def task() -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        return loop

    def next_task() -> asyncio.AbstractEventLoop:
        restore.restore()
        return asyncio.get_event_loop()

    with ThreadPoolExecutor(1) as pool:
        loop = pool.submit(task).result()
        assert pool.submit(next_task).result() is loop
        loop.close()
