"""A site that calls one task with one key after the other, as a process of its own.

`python -m tests.faults.rival TASK KEY …` prints a line for each call: the id of its job, and
whether it was a duplicate. With `--at DIRECTORY` it waits before each call until the test has made
the file DIRECTORY/KEY, so that several of them call at the same moment.
BGTASKS_TEST_OPEN: if set, all calls are in one transaction.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import django
from django.db import transaction


def main(name: str, *keys: str) -> None:
    """Enqueue a job for each key."""
    django.setup()
    from . import delivery_tasks

    task = getattr(delivery_tasks, name)
    directory = None
    if keys[0] == "--at":
        directory, keys = Path(keys[1]), keys[2:]
        print("ready", flush=True)
    with transaction.atomic() if "BGTASKS_TEST_OPEN" in os.environ else nullcontext():
        for key in keys:
            while directory is not None and not (directory / key).exists():
                time.sleep(0.0005)
            result = task.enqueue(key)
            print(result.id, result.deduplicated, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
