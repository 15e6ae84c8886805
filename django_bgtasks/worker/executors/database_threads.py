"""The database threads of a job process. A coroutine that uses the database has one to itself.

`sync_to_async` and the asynchronous methods of the ORM ask asgiref for a thread. asgiref gives them
the executor that is noted for the running event loop; here it is DatabaseThreads.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from functools import partial
from math import inf
from queue import Empty, SimpleQueue
from typing import Any

from ...core.errors import Interruption
from ...sandbox.call import ThreadLimit, only_here
from ...sandbox.connections import drop_connections, give_back_connections, most_connections
from ...sandbox.restore import SessionGuard
from ...sandbox.threads import checked, is_in_passing, refresh

# Seconds. A thread without work ends then, and its connections with it; one stays.
IDLE_SECONDS = 10.0
# Connections that the process itself needs: the main, the settling and the watching thread.
OF_THE_PROCESS = 3


class Lease:
    """The use of one thread, from the first call of a run until the end of the run."""

    def __init__(self) -> None:
        self.ended: Future[bool] = Future()
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._limit: ThreadLimit | None = None
        self._struck = False

    def call(self, act: Callable[[], Any]) -> Future[Any]:
        """Have this called in the thread, after what was asked for before."""
        future: Future[Any] = Future()
        self._calls.put((future, act))
        return future

    def end(self) -> Future[bool]:
        """No call comes after this. The result: whether a transaction was left open."""
        self._calls.put(None)
        return self.ended

    def strike(self, kind: type[Interruption]) -> None:
        """Raise this in the call that is running, if there is one, as in a task in a thread."""
        self._struck = True
        limit = self._limit
        if limit is not None:
            limit.interrupt(kind)

    def serve(self) -> None:
        """Do the calls, in a thread; then leave its connections as they were before."""
        refresh()
        guard = SessionGuard()
        try:
            while (call := self._calls.get()) is not None:
                self._do(*call)
            left_open = guard.restore()
            if self._struck:
                # It may have been in the middle of a query.
                drop_connections()
            give_back_connections()
        except BaseException as error:
            with suppress(Exception):
                drop_connections()
            self.ended.set_exception(error)
        else:
            self.ended.set_result(left_open)

    def _do(self, future: Future[Any], act: Callable[[], Any]) -> None:
        if not future.set_running_or_notify_cancel():
            return
        self._limit = limit = ThreadLimit(inf)
        try:
            with only_here():
                value = limit.run(act)
        except BaseException as error:
            future.set_exception(error)
            # The traceback of the error refers to this frame.
            del future
        else:
            future.set_result(value)
        finally:
            self._limit = None


class DatabaseThreads(Executor):
    """At most so many threads, each with database connections of its own.

    The run that makes a call has its thread until release(), so transactions, cursors and settings
    of the session are its own across its awaits. Where all threads are taken it waits for one,
    first come, first served. A call of no run has a thread for itself, and must leave no
    transaction open. A call in passing needs a thread for itself only where its run has none.

    owner: the run that makes the current call; asked on the event loop.
    """

    def __init__(self, most: int, owner: Callable[[], object | None]) -> None:
        self._most, self._owner = most, owner
        self._leases: dict[object, Lease] = {}
        self._lock = threading.Lock()
        self._threads = 0
        self._idle: list[SimpleQueue[Lease]] = []
        self._waiting: deque[Lease] = deque()

    def submit(self, act: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Have this called in the thread of the current run."""
        run, call = self._owner(), partial(act, *args, **kwargs)
        if run is None:
            return self._once(partial(checked, call))
        lease = self._leases.get(run)
        if lease is None and is_in_passing.get():
            return self._once(call)
        return (lease or self._begun(run)).call(call)

    def release(self, run: object, error: BaseException | None) -> Future[bool] | None:
        """The run has ended. Returns whether it left a transaction open; None if it has no thread.

        error: what it raised. After an interruption its last call is interrupted too.
        """
        lease = self._leases.pop(run, None)
        if lease is None:
            return None
        if isinstance(error, Interruption):
            lease.strike(type(error))
        return lease.end()

    def _once(self, call: Callable[[], Any]) -> Future[Any]:
        lease = self._begun()
        future = lease.call(call)
        lease.end()
        return future

    def _begun(self, run: object | None = None) -> Lease:
        lease = Lease()
        if run is not None:
            self._leases[run] = lease
        with self._lock:
            if self._idle:
                # The one that was busy last: the others may get old and end.
                self._idle.pop().put(lease)
            elif self._threads < self._most:
                self._threads += 1
                main = partial(self._serve, lease)
                threading.Thread(target=main, name="database", daemon=True).start()
            else:
                self._waiting.append(lease)
        return lease

    def _serve(self, lease: Lease | None) -> None:
        leases: SimpleQueue[Lease] = SimpleQueue()
        while lease is not None:
            lease.serve()
            lease = self._next(leases)
        drop_connections()

    def _next(self, leases: SimpleQueue[Lease]) -> Lease | None:
        """The next lease for a thread, which may have to wait for it; None if it is to end."""
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self._idle.append(leases)
        while True:
            try:
                return leases.get(timeout=IDLE_SECONDS)
            except Empty:
                if self._may_end(leases):
                    return None

    def _may_end(self, leases: SimpleQueue[Lease]) -> bool:
        with self._lock:
            if leases not in self._idle or len(self._idle) == 1:
                return False
            self._idle.remove(leases)
            self._threads -= 1
            return True


def room_for(number: int, threads: int) -> int:
    """How many coroutines may use the database at once: with a small pool, fewer than wanted.

    threads: with more than one, those that run other jobs; each has a connection too.
    """
    others = OF_THE_PROCESS + (threads if threads > 1 else 0)
    return int(max(1, min(number, most_connections() - others)))
