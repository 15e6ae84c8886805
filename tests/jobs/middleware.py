"""Middleware of the tests. MIDDLEWARE_FILE: where that of a worker writes what it is called for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.db import connection

from django_bgtasks import Middleware, process_started, process_stopping


def write(line: str) -> None:
    """Add one line to the file; other processes write to it too."""
    with Path(os.environ["MIDDLEWARE_FILE"]).open("a") as file:
        file.write(f"{line}\n")


def note_process(signal: Any, kind: str, **kwargs: Any) -> None:
    """A receiver of the signals about processes."""
    write(f"{'started' if signal is process_started else 'stopping'} {kind}")


def ask_database(**kwargs: Any) -> None:
    """A receiver of the signals about processes."""
    connection.ensure_connection()


class ToFile(Middleware):
    """Writes what it is called for, in all processes of a worker."""

    @contextmanager
    def around(self, context: Any) -> Iterator[None]:
        """Write where the task begins."""
        write(f"around {context.job_id}")
        yield

    def on_outcome(self, context: Any, outcome: Any) -> None:
        """Write what it came to."""
        write(f"{context.job.state} {context.job_id}")


class NeedsMore(Middleware):
    """One that cannot be made without arguments."""

    def __init__(self, more: str) -> None:
        self.more = more


def connect() -> None:
    """For a settings file: note the beginnings and ends of processes."""
    process_started.connect(note_process)
    process_stopping.connect(note_process)
