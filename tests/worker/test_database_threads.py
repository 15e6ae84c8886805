"""The threads in which coroutines use the database: one for each, and no more than there may be."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from asgiref.sync import AsyncToSync

from django_bgtasks.core.errors import JobTimeout
from django_bgtasks.worker.executors import database_threads
from django_bgtasks.worker.executors.database_threads import DatabaseThreads
from tests.waiting import wait_until

LIMIT = 10.0
NAME = "database"


class Site:
    """Threads, and whose the current call is."""

    def __init__(self, most: int) -> None:
        self.run: str | None = None
        self.threads = DatabaseThreads(most, lambda: self.run)

    def call(self, run: str | None, act: Callable[..., Any], *args: Any) -> Future[Any]:
        self.run = run
        return self.threads.submit(act, *args)

    def ident(self, run: str | None) -> int:
        return int(self.call(run, threading.get_ident).result(LIMIT))

    def end(self, run: str, error: BaseException | None = None) -> bool:
        ended = self.threads.release(run, error)
        assert ended is not None
        return ended.result(LIMIT)


@pytest.fixture(autouse=True)
def threads_that_end(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    # The last one of each site stays, and waits for nobody.
    wait_until(lambda: len(serving_threads() - before) <= 1)


def serving_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == NAME}


@pytest.fixture(autouse=True)
def soon_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_threads, "IDLE_SECONDS", 0.05)


def test_asgiref_still_looks_where_the_threads_are_noted() -> None:
    assert isinstance(AsyncToSync.loop_thread_executors, dict)


def test_a_run_has_the_same_thread_until_it_ends_and_another_run_another_one() -> None:
    site = Site(2)
    first, second = site.ident("a"), site.ident("b")
    assert first != second
    assert (site.ident("a"), site.ident("b")) == (first, second)
    assert site.end("a") is site.end("b") is False


def test_a_run_that_has_made_no_call_has_no_thread() -> None:
    site = Site(2)
    assert site.threads.release("a", None) is None


def test_there_are_no_more_threads_than_there_may_be_and_who_came_first_is_first() -> None:
    site, order = Site(1), list[str]()
    here = site.ident("a")
    waiting = [site.call(run, order.append, run) for run in ("b", "c", "b")]
    nobodys = site.call(None, threading.get_ident)
    site.end("a")
    waiting[0].result(LIMIT)
    assert not waiting[1].done()
    site.end("b")
    waiting[1].result(LIMIT)
    site.end("c")
    assert order == ["b", "b", "c"]
    assert nobodys.result(LIMIT) == here


def test_a_run_that_ends_while_it_waits_takes_no_thread_from_others() -> None:
    site = Site(1)
    here = site.ident("a")
    given_up = site.call("b", threading.get_ident)
    later = site.call("c", threading.get_ident)
    assert given_up.cancel()
    ended = site.threads.release("b", None)
    assert ended is not None
    site.end("a")
    assert ended.result(LIMIT) is False
    assert later.result(LIMIT) == here
    site.end("c")


def test_what_a_call_raises_is_raised_and_the_thread_goes_on() -> None:
    site = Site(1)
    with pytest.raises(SystemExit):
        site.call("a", exit_thread).result(LIMIT)
    assert site.ident("a")
    assert site.end("a") is False


def exit_thread() -> None:
    raise SystemExit(3)


def test_the_call_of_a_run_that_is_out_of_time_is_interrupted_and_nobody_waits_in_its_thread() -> (
    None
):
    site, begun = Site(1), threading.Event()

    def spin() -> None:
        begun.set()
        while True:
            threading.Event().wait(0.01)

    spinning = site.call("a", spin)
    assert begun.wait(LIMIT)
    site.end("a", JobTimeout("too long"))
    assert isinstance(spinning.exception(LIMIT), JobTimeout)
    assert site.ident("b")
    site.end("b")


def test_threads_without_work_end_but_for_one() -> None:
    site, before = Site(5), serving_threads()
    for run in "abcde":
        site.ident(run)
    assert len(serving_threads() - before) == 5
    for run in "abcde":
        site.end(run)
    wait_until(lambda: len(serving_threads() - before) == 1)
    # It is still there for the next, and others come again.
    assert site.ident("f") != site.ident("g")
    site.end("f")
    site.end("g")
