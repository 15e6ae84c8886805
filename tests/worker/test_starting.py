"""Job processes start whatever became of the directory; if they do not, that is seen."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.core.management import call_command

from django_bgtasks.models import Worker
from tests.waiting import wait_until
from tests.workers import ROOT, WorkerFactory

from . import tasks
from .conftest import Effects
from .jobs import outcomes, wait_for_state

PATH = {"PYTHONPATH": str(ROOT)}


def inside(directory: Path, before: str = "") -> tuple[str, ...]:
    """A command that runs another one in this directory."""
    directory.mkdir(exist_ok=True)
    return "sh", "-c", f'cd "{directory}" && {before} exec "$@"', "sh"


@pytest.mark.long(after=1)
@pytest.mark.parametrize("when", ["before the start", "while it runs"])
def test_jobs_run_when_the_working_directory_is_removed(
    bgworker: WorkerFactory, effects: Effects, tmp_path: Path, when: str
) -> None:
    release = tmp_path / "release-1"
    before = f'rmdir "{release}" &&' if when == "before the start" else ""
    worker = bgworker("--max-jobs", 1, within=inside(release, before), env=PATH)
    wait_for_state(tasks.record.enqueue(str(effects), "first"), "succeeded")
    if release.exists():
        shutil.rmtree(release)
    for text in ("second", "third"):
        wait_for_state(tasks.record.enqueue(str(effects), text), "succeeded")
    assert effects.texts == ["first", "second", "third"]
    assert worker.stop() == 0
    assert "Traceback" not in worker.output


def test_a_task_that_removes_the_working_directory_leaves_its_neighbours_a_process(
    bgworker: WorkerFactory, effects: Effects, tmp_path: Path
) -> None:
    worker = bgworker("--max-jobs", 2, within=inside(tmp_path / "release-1"), env=PATH)
    removed = wait_for_state(tasks.removes_its_directory.enqueue(), "succeeded")
    for text in ("second", "third", "fourth"):
        wait_for_state(tasks.record.enqueue(str(effects), text), "succeeded")
    Path(str(removed.result)).mkdir()
    wait_for_state(tasks.record.enqueue(str(effects), "in the new one"), "succeeded")
    assert wait_for_state(tasks.where.enqueue(), "succeeded").result == removed.result
    assert worker.stop() == 0


@pytest.mark.long
def test_a_directory_that_nobody_may_enter_any_more_does_not_matter(
    bgworker: WorkerFactory, effects: Effects, tmp_path: Path
) -> None:
    release = tmp_path / "release-1"
    worker = bgworker("--max-jobs", 1, within=inside(release), env=PATH)
    wait_for_state(tasks.record.enqueue(str(effects), "first"), "succeeded")
    release.chmod(0)
    wait_for_state(tasks.record.enqueue(str(effects), "second"), "succeeded")
    assert worker.stop() == 0


# Settings of a site. They break what is born while the file is there.
SPOILT = """
import os
from tests.settings import *

def _spoil():
    if os.path.exists({flag!r}):
        {act}

os.register_at_fork(after_in_child=_spoil)
"""
ACTS = {
    "exits": "os._exit(7)",
    "is killed": "os.kill(os.getpid(), 9)",
    "exits with the code of success": "os._exit(0)",
}
REFUSING = """
import errno
import os
from tests.settings import *

_fork = os.fork

def _refuse():
    if os.path.exists({flag!r}):
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
    return _fork()

os.fork = _refuse
"""
FAILING = """
import os
import random
from tests.settings import *

_seed = random.seed

def _fail():
    if os.path.exists({flag!r}):
        raise RuntimeError("the licence server is gone")
    _seed()

random.seed = _fail
"""


@pytest.mark.long
def test_job_processes_that_end_at_once_are_seen_and_their_cause_is_said_once(
    bgworker: WorkerFactory, effects: Effects, tmp_path: Path
) -> None:
    flag = tmp_path / "spoilt"
    (tmp_path / "spoilt_settings.py").write_text(FAILING.format(flag=str(flag)))
    env = {"PYTHONPATH": str(tmp_path), "DJANGO_SETTINGS_MODULE": "spoilt_settings"}
    worker = bgworker("--processes", 2, env=env)
    wait_for_state(tasks.record.enqueue(str(effects), "first"), "succeeded")
    assert status()["level"] == "ok"
    flag.touch()
    for process in job_processes(worker.pid):
        process.kill()
    worker.wait_for("Job processes end as soon as they start, and jobs wait: RuntimeError: the lic")
    job = tasks.record.enqueue(str(effects), "second")
    wait_until(lambda: Worker.objects.get().trouble, 10)
    answer = status()
    assert answer["level"] == "critical"
    [problem] = answer["problems"]
    assert problem["code"] == "not-starting"
    assert "RuntimeError: the licence server is gone" in problem["what"]
    with pytest.raises(SystemExit) as failed:
        call_command("bgdoctor", stdout=StringIO())
    assert failed.value.code == 1
    flag.unlink()
    assert wait_for_state(job, "succeeded", timeout=20).attempt == 1
    worker.wait_for("Job processes start again.")
    wait_until(lambda: not Worker.objects.get().trouble, 10)
    assert status()["level"] == "ok"
    # Each place says it, and not each process.
    assert worker.output.count("Traceback") == 2
    assert worker.stop() == 0


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(act, id=name, marks=[] if name == "exits" else [pytest.mark.long])
        for name, act in ACTS.items()
    ],
)
def test_forks_that_die_without_a_word_are_seen_too(
    bgworker: WorkerFactory, effects: Effects, tmp_path: Path, act: str
) -> None:
    flag = tmp_path / "spoilt"
    (tmp_path / "spoilt_settings.py").write_text(SPOILT.format(flag=str(flag), act=act))
    env = {"PYTHONPATH": str(tmp_path), "DJANGO_SETTINGS_MODULE": "spoilt_settings"}
    worker = bgworker(env=env)
    job = tasks.wait_at_gate.enqueue(str(effects))
    wait_until(lambda: effects.texts == ["begin"])
    flag.touch()
    for process in job_processes(worker.pid):
        process.kill()
    worker.wait_for("Job processes end as soon as they start, and jobs wait: The process")
    flag.unlink()
    effects.open_gate()
    wait_for_state(job, "succeeded", timeout=20)
    assert outcomes(job) == ["crash"]
    assert worker.stop() == 0


@pytest.mark.long
@pytest.mark.slow
def test_a_fork_that_hangs_is_replaced_and_seen(
    bgworker: WorkerFactory, effects: Effects, tmp_path: Path
) -> None:
    """As with a lock of a library that a thread of the site had when the process was forked."""
    flag = tmp_path / "spoilt"
    act = "__import__('time').sleep(600)"
    (tmp_path / "spoilt_settings.py").write_text(SPOILT.format(flag=str(flag), act=act))
    env = {"PYTHONPATH": str(tmp_path), "DJANGO_SETTINGS_MODULE": "spoilt_settings"}
    worker = bgworker(env=env)
    wait_for_state(tasks.record.enqueue(str(effects), "first"), "succeeded")
    flag.touch()
    for process in job_processes(worker.pid):
        process.kill()
    job = tasks.record.enqueue(str(effects), "second")
    worker.wait_for("it did not come to its work within 10 s of its start.")
    flag.unlink()
    # The next one may have been forked before.
    assert wait_for_state(job, "succeeded", timeout=20).attempt == 1
    assert worker.stop() == 0


@pytest.mark.long
def test_a_fork_that_is_refused_ends_nothing_and_is_seen(
    bgworker: WorkerFactory, effects: Effects, tmp_path: Path
) -> None:
    flag = tmp_path / "spoilt"
    (tmp_path / "spoilt_settings.py").write_text(REFUSING.format(flag=str(flag)))
    env = {"PYTHONPATH": str(tmp_path), "DJANGO_SETTINGS_MODULE": "spoilt_settings"}
    worker = bgworker("--processes", 2, env=env)
    job = tasks.wait_at_gate_only_once.enqueue(str(effects))
    wait_until(lambda: effects.texts == ["begin"])
    flag.touch()
    [busy] = effects.pids
    for process in psutil.Process(worker.pid).children():
        if process.pid != busy:
            process.kill()
    worker.wait_for("Maintenance cannot be started")
    worker.wait_for("end as soon as they start, and jobs wait: BlockingIOError: [Errno 11]")
    effects.open_gate()
    flag.unlink()
    wait_for_state(job, "succeeded")
    assert worker.stop() == 0


@pytest.mark.long
def test_maintenance_that_ends_at_once_neither_fills_the_log_nor_holds_up_a_stop(
    bgworker: WorkerFactory, effects: Effects, tmp_path: Path
) -> None:
    flag = tmp_path / "spoilt"
    act = ACTS["exits"]
    (tmp_path / "spoilt_settings.py").write_text(SPOILT.format(flag=str(flag), act=act))
    env = {"PYTHONPATH": str(tmp_path), "DJANGO_SETTINGS_MODULE": "spoilt_settings"}
    worker = bgworker(env=env)
    wait_for_state(tasks.record.enqueue(str(effects), "first"), "succeeded")
    flag.touch()
    maintenance = {process.pid for process in psutil.Process(worker.pid).children()}
    maintenance -= {process.pid for process in job_processes(worker.pid)}
    for pid in maintenance:
        psutil.Process(pid).kill()
    worker.wait_for("code 7.), again and again; no job runs without it.")
    assert worker.output.count("starting it again") <= 3
    flag.unlink()
    wait_for_state(tasks.record.enqueue(str(effects), "second"), "succeeded")
    assert worker.stop() == 0


def job_processes(pid: int) -> list[psutil.Process]:
    """All that is registered in Redis is a job process; maintenance is the first that was born."""
    return sorted(psutil.Process(pid).children(), key=lambda process: process.create_time())[1:]


def status() -> dict[str, Any]:
    out = StringIO()
    with suppress(SystemExit):
        call_command("bgstatus", "--json", stdout=out)
    answer: dict[str, Any] = json.loads(out.getvalue())
    return answer
