"""The demo: one command that does all of it for real."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from testproject.servers import RedisServer
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.sqlite]


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A machine where nothing runs; whatever the demo leaves there fails the test."""
    own = {
        name: value
        for name, value in os.environ.items()
        if name not in (RedisServer.variable, "DJANGO_SETTINGS_MODULE", "REDIS_URL")
    }
    yield {**own, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    wait_until(lambda: not processes_of(tmp_path), 10, "no process is left")
    assert not list(tmp_path.glob("bgtasks-*"))


def processes_of(directory: Path) -> list[psutil.Process]:
    """The processes that were started with this directory for their files."""
    return [
        process
        for process in psutil.process_iter(["environ"])
        if (process.info["environ"] or {}).get("TMPDIR") == str(directory)
    ]


def start(environment: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "testproject.demo", "--rows", "500", *arguments]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def test_the_demo_does_every_job_and_leaves_nothing(environment: dict[str, str]) -> None:
    demo = start(environment)
    output, _ = demo.communicate(timeout=100)
    assert demo.returncode == 0, output
    assert "3 × 202 Accepted, 1 welcome email enqueued" in output
    assert "twice: the same job" in output
    for made in (
        "3 sizes: 213×320, 640×960, 1280×1920",
        "500 contacts, 1 line skipped",
        "mail to ben@example.org",
        r"CSV \d+ kB, PDF \d+ kB",
    ):
        assert re.search(made, output), output
    assert "at most 2 of them ran at once" in output
    assert "13 of 16 steps succeeded; the sheet is skipped, and its mail: 2 steps" in output
    assert "she replaces it, and only that is done again" in output
    assert "a sheet of 13 pictures" in output
    assert "failed" not in output


@pytest.mark.long
def test_a_demo_that_serves_stays_until_it_is_interrupted(environment: dict[str, str]) -> None:
    with start(environment, "--serve") as demo:
        assert demo.stdout is not None
        lines = []
        for line in demo.stdout:
            lines.append(line)
            if "Ctrl-C stops" in line:
                break
        assert any("user demo, password" in line for line in lines), lines
        demo.send_signal(signal.SIGINT)
        assert demo.wait(60) == 0


def test_a_demo_that_cannot_start_says_why(environment: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        demo = start(environment, "--port", str(taken.getsockname()[1]))
        output, _ = demo.communicate(timeout=60)
    assert demo.returncode == 1
    assert re.fullmatch(r"\s*The demo failed: port \d+ is in use.*\s*", output)
