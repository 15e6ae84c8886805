"""What a worker holds."""

from __future__ import annotations

import time
from pathlib import Path

import psutil

from tests.waiting import wait_until

from .. import tasks
from .drain import drained
from .tools import Figures, emptied, has_pillow, lines_of, new_log, pss, worker


def memory(directory: Path) -> Figures:
    """What an idle `bgworker --processes 2` holds: proportional set size, in MiB."""
    with worker(directory, "--processes", 2) as started:
        log = new_log(directory)
        for _ in range(20):
            tasks.note_begin.enqueue(str(log))
        wait_until(lambda: len(lines_of(log)) == 20)
        wait_until(lambda: len(started.family()) == 4)
        time.sleep(5)
        family = sorted(started.family(), key=lambda process: process.pid)
        names = ["supervisor", "maintenance", "job process 1", "job process 2"]
        figures = {f"{name} MiB": pss(process) for name, process in zip(names, family, strict=True)}
        total = sum(figures.values())
        figures["Pillow loaded"] = float(all(has_pillow(process) for process in family))
        own = sum(pss(process, "Pss_Anon") for process in family)
    return {**figures, "of no file, sum MiB": own, "sum MiB": total}


def job_process(directory: Path) -> Figures:
    """The memory of a job process as it runs on."""
    memory: list[float] = []

    def look(processes: list[psutil.Process]) -> None:
        memory.append(max(pss(process) for process in processes[2:]))

    emptied()
    drained(directory, 2 * 100_000, look)
    emptied()
    return {"MiB after 10,000 jobs": memory[0], "MiB after 100,000 jobs": memory[1]}
