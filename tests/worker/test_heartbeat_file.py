"""`--heartbeat-file`: probes of the same host see by its time whether a worker is well."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from django.db import connection

from django_bgtasks.worker import heartbeat_file
from django_bgtasks.worker.heartbeat_file import HeartbeatFile, HeartbeatFileError
from tests.waiting import wait_until
from tests.workers import ROOT, WorkerFactory

from . import tasks
from .conftest import Effects
from .jobs import wait_for_state
from .test_starting import ACTS, SPOILT, job_processes


def age_of(path: Path) -> None:
    """Let it look as if nobody had touched it for an hour."""
    os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 3600))


def wait_until_touched(path: Path) -> None:
    age_of(path)
    before = path.stat().st_mtime
    wait_until(lambda: path.stat().st_mtime > before)


def test_it_is_touched_while_a_job_runs_and_is_gone_after_a_stop(
    bgworker: WorkerFactory, effects: Effects, tmp_path: Path
) -> None:
    path = tmp_path / "alive"
    worker = bgworker("--heartbeat-file", path)
    tasks.wait_at_gate.enqueue(str(effects))
    wait_until(lambda: effects.texts == ["begin"])
    assert path.read_text() == f"{worker.pid}\n"
    for _ in range(2):
        wait_until_touched(path)
    path.unlink()
    wait_until(path.exists)
    worker.send(signal.SIGTERM)
    worker.wait_for("Stopping")
    wait_until_touched(path)
    effects.open_gate()
    assert worker.wait() == 0
    assert not path.exists()


def test_it_is_not_touched_by_a_supervisor_that_stands_still(
    bgworker: WorkerFactory, effects: Effects, tmp_path: Path
) -> None:
    path = tmp_path / "alive"
    worker = bgworker("--heartbeat-file", path)
    wait_for_state(tasks.record.enqueue(str(effects), "first"), "succeeded")
    supervisor = psutil.Process(worker.pid)
    supervisor.suspend()
    wait_until(lambda: supervisor.status() == psutil.STATUS_STOPPED)
    age_of(path)
    before = path.stat().st_mtime
    # A job process works on: it is another one's to say that all is well.
    wait_for_state(tasks.record.enqueue(str(effects), "second"), "succeeded")
    assert path.stat().st_mtime == before
    supervisor.resume()
    wait_until(lambda: path.stat().st_mtime > before)
    worker.kill()
    assert path.exists()


def test_a_worker_that_waits_for_its_database_is_well(
    bgworker: WorkerFactory, tmp_path: Path
) -> None:
    path = tmp_path / "alive"
    nowhere = "test_nowhere" if connection.vendor != "sqlite" else str(tmp_path / "no" / "db")
    worker = bgworker("--heartbeat-file", path, env={"BGTASKS_TEST_DB_NAME": nowhere})
    worker.wait_for("The database does not answer")
    wait_until_touched(path)
    assert worker.stop() == 0
    assert not path.exists()


@pytest.mark.long
def test_it_grows_old_while_job_processes_end_as_soon_as_they_start(
    bgworker: WorkerFactory, effects: Effects, tmp_path: Path
) -> None:
    path, flag = tmp_path / "alive", tmp_path / "spoilt"
    settings = SPOILT.format(flag=str(flag), act=ACTS["exits"])
    (tmp_path / "spoilt_settings.py").write_text(settings)
    env = {"PYTHONPATH": str(tmp_path), "DJANGO_SETTINGS_MODULE": "spoilt_settings"}
    worker = bgworker("--heartbeat-file", path, env=env)
    wait_for_state(tasks.record.enqueue(str(effects), "first"), "succeeded")
    flag.touch()
    for process in job_processes(worker.pid):
        process.kill()
    worker.wait_for("Job processes end as soon as they start, and jobs wait: The process")
    age_of(path)
    before = path.stat().st_mtime
    # Its next process ends at once too, some seconds later.
    died = tasks.record.enqueue(str(effects), "second")
    assert path.stat().st_mtime == before
    flag.unlink()
    wait_for_state(died, "succeeded", timeout=20)
    wait_until(lambda: path.stat().st_mtime > before)
    assert worker.stop() == 0


def directory(path: Path) -> str:
    path.mkdir()
    return "Is a directory"


def in_no_directory(path: Path) -> str:
    path.with_name("gone").symlink_to(path.parent / "nowhere" / "file")
    path.symlink_to(path.with_name("gone"))
    return "No such file or directory"


def pipe(path: Path) -> str:
    os.mkfifo(path)
    return "it is no regular file"


def somebodys(path: Path) -> str:
    path.write_text("SECRET_KEY = 'x'\n")
    return "it exists and is no heartbeat file"


def numbers_of_somebody(path: Path) -> str:
    path.write_text("17\n" * 60)
    return "it exists and is no heartbeat file"


@pytest.mark.parametrize("make", [directory, in_no_directory, pipe, somebodys, numbers_of_somebody])
def test_a_path_that_cannot_be_used_is_refused_and_left_as_it_is(
    tmp_path: Path, make: Callable[[Path], str]
) -> None:
    path = tmp_path / "alive"
    why = make(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(HeartbeatFileError, match=why) as refused:
        HeartbeatFile(str(path))
    assert str(path) in str(refused.value)
    assert (path.read_bytes() if path.is_file() else None) == before


def test_a_worker_says_at_its_start_that_the_path_cannot_be_used(
    bgworker: WorkerFactory, tmp_path: Path
) -> None:
    worker = bgworker("--heartbeat-file", tmp_path / "no" / "alive")
    assert worker.wait() == 1
    assert f"--heartbeat-file: {tmp_path}/no/alive: No such file or directory." in worker.output
    assert "Traceback" not in worker.output


def test_the_probe_of_the_documents_sees_a_file_that_is_old_or_gone(tmp_path: Path) -> None:
    path = tmp_path / "alive"
    pattern = r'command: \["sh", "-c", "(.*)"\]'
    found = re.search(pattern, (ROOT / "docs" / "workers.md").read_text())
    assert found
    command = found[1].replace('\\"', '"').replace("/tmp/bgworker", str(path))

    def probe() -> int:
        return subprocess.run(["sh", "-c", command], check=False, capture_output=True).returncode

    assert probe() == 1
    HeartbeatFile(str(path))
    assert probe() == 0
    age_of(path)
    assert probe() == 1


@pytest.mark.parametrize("left", ["", "12345\n", "12345"])
def test_the_file_that_a_killed_worker_has_left_is_taken_over(tmp_path: Path, left: str) -> None:
    path = tmp_path / "alive"
    path.write_text(left)
    heartbeat = HeartbeatFile(str(path))
    assert path.read_text() == f"{os.getpid()}\n"
    heartbeat.remove()
    assert not path.exists()


def test_a_worker_does_not_remove_the_file_of_another_one(tmp_path: Path) -> None:
    path = tmp_path / "alive"
    heartbeat = HeartbeatFile(str(path))
    path.write_text("1\n")
    heartbeat.remove()
    assert path.exists()


def test_what_cannot_be_written_any_more_is_logged_once_and_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat_file, "TOUCH_EVERY", 0.0)
    folder = tmp_path / "run"
    folder.mkdir()
    heartbeat = HeartbeatFile(str(folder / "alive"))
    (folder / "alive").unlink()
    folder.rmdir()
    for _ in range(3):
        heartbeat.touch()
    assert caplog.text.count("cannot be written") == 1
    folder.mkdir()
    heartbeat.touch()
    assert (folder / "alive").exists()
