"""The threads of a job child, in which blocking jobs wait side by side."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

from ...jobs.execute import Run, run_claimed
from ...models import Job
from ...sandbox.connections import give_back_connections, refresh_connections
from ...sandbox.timeouts import cancel_thread

Ended = Callable[[], None]


class Threaded:
    """One attempt in a thread."""

    def __init__(self, job: Job, using: str) -> None:
        self.job, self._using = job, using
        self._thread: int | None = None
        self._leaving = threading.Lock()
        self._run: Run | None = None
        self._error: BaseException | None = None

    def main(self) -> None:
        """Run the job in this thread, with the thread's own connections."""
        self._thread = threading.get_ident()
        try:
            refresh_connections()
            self._run = run_claimed(self.job, self._using, grouped=True)
            give_back_connections()
        except BaseException as error:
            # The thread goes on; who asks for the end is told.
            self._error = error
        finally:
            with self._leaving:
                self._thread = None

    def cancel(self) -> None:
        """Raise JobCancelled in the task."""
        # The thread must not get to its next job meanwhile: that is not to be cancelled.
        with self._leaving:
            if self._thread is not None:
                cancel_thread(self._thread)

    def end(self) -> Run | None:
        """What became of it; None if the claim was lost. Raises what its settlement raised."""
        if self._error is not None:
            raise self._error
        return self._run


class Threads:
    """As many threads as jobs were ever there at once; they wait for the next ones."""

    def __init__(self) -> None:
        self._waiting: SimpleQueue[tuple[Threaded, Ended]] = SimpleQueue()
        self._idle = threading.Semaphore(0)

    def start(self, run: Threaded, ended: Ended) -> None:
        """Begin a run in a thread that is free, or in a new one. `ended` is called there then."""
        if not self._idle.acquire(blocking=False):
            threading.Thread(target=self._serve, name="jobs", daemon=True).start()
        self._waiting.put((run, ended))

    def _serve(self) -> None:
        while True:
            run, ended = self._waiting.get()
            run.main()
            # Free before the next one is begun, which this may lead to.
            self._idle.release()
            ended()
