"""The quick start of the README, followed word for word in an empty directory, without a server."""

from __future__ import annotations

import http.cookiejar
import json
import os
import re
import shlex
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from signal import SIGINT
from subprocess import Popen

import pytest

from testproject.servers.processes import end, free_port, spawn
from tests.waiting import wait_until

from .markdown import README, ROOT, Block, section

STAY_UP = ("bgworker", "runserver")
ADMIN = {"USERNAME": "ada", "PASSWORD": "lovelace", "EMAIL": "ada@example.com"}
# A directory with a module that Python loads first: nobody is at the default address of Redis.
NO_REDIS = Path(__file__).parent / "no_redis"
LOOK_FOR_REDIS = "import socket; socket.create_connection(('127.0.0.1', 6379), 1)"
WITHOUT_REDIS = "without Redis: jobs start within 0.5 s; with Redis within milliseconds"


class Reader:
    """Somebody who types what the README says, and never anything else."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.port = directory, free_port()
        login = {f"DJANGO_SUPERUSER_{name}": value for name, value in ADMIN.items()}
        self.env = {**clean_environment(), **login}
        self.running: dict[str, Popen[bytes]] = {}
        cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self.browser = urllib.request.build_opener(cookies)

    def follow(self, block: Block) -> None:
        """Save a file, or type the commands."""
        if block.kind == "python":
            self.save(block)
        for line in re.findall(r"^\$ (.+)$", block.text, re.MULTILINE):
            self.type(shlex.split(line))

    def save(self, block: Block) -> None:
        """The settings exist and are added to; any other file is written."""
        path = self.directory / block.file
        assert path.parent.is_dir(), f"{block}: there is no directory for {block.file}"
        before = path.read_text() if block.is_settings else ""
        path.write_text(before + block.text)

    def type(self, words: list[str]) -> None:
        """Run a command. pip has been run: the tests' environment has the packages."""
        program, *arguments = words
        if program == "pip":
            return
        command = [sys.executable, *(["-m", "django"] if program == "django-admin" else [])]
        if arguments[-1] in STAY_UP:
            self.keep_up(arguments[-1], [*command, *arguments])
            return
        questions = ["--noinput"] if arguments[-1] == "createsuperuser" else []
        printed = self.run([*command, *arguments, *questions])
        # Advice is for who asks, not for each command.
        assert "bgtasks.W" not in printed

    def run(self, command: list[str]) -> str:
        """Run a command in the directory of the project. Returns what it prints, errors first."""
        done = subprocess.run(
            command, cwd=self.directory, env=self.env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stderr + done.stdout

    def keep_up(self, name: str, command: list[str]) -> None:
        """A second terminal. Port 8000 may be taken here."""
        port = [f"127.0.0.1:{self.port}"] if name == "runserver" else []
        self.running[name] = spawn(
            [*command, *port],
            output=self.directory / f"{name}.log",
            cwd=self.directory,
            env=self.env,
        )

    def open(self, address: str, form: Mapping[str, str] | None = None) -> str:
        """The page at an address of the README; empty while the site is not up yet."""
        url = address.replace(":8000", f":{self.port}")
        data = urllib.parse.urlencode(form).encode() if form else None
        try:
            with self.browser.open(url, data) as response:
                return str(response.read().decode())
        except urllib.error.HTTPError:
            raise
        except urllib.error.URLError:
            return ""

    def log_in(self, address: str) -> None:
        """Fill in the form of the admin's login page."""
        page = self.open(f"{address}login/")
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
        assert token
        self.open(
            f"{address}login/",
            {
                "username": ADMIN["USERNAME"],
                "password": ADMIN["PASSWORD"],
                "next": urllib.parse.urlsplit(address).path,
                "csrfmiddlewaretoken": token[1],
            },
        )

    def state_of(self, job: str) -> str:
        """The state in the job's row."""
        with closing(sqlite3.connect(self.directory / "db.sqlite3", timeout=20)) as database:
            query = "SELECT state FROM django_bgtasks_job WHERE id = ?"
            [state] = database.execute(query, [job.replace("-", "")]).fetchone()
            return str(state)

    def stop(self) -> None:
        """Ctrl-C in each terminal, and show what it had printed."""
        for name, process in self.running.items():
            end(process, SIGINT, timeout=10)
            print(f"--- {name}:\n{(self.directory / f'{name}.log').read_text()}")


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    reader = Reader(tmp_path)
    with pytest.raises(AssertionError, match="ConnectionRefusedError"):
        reader.run([sys.executable, "-c", LOOK_FOR_REDIS])
    yield reader
    reader.stop()


def quick_start() -> list[Block]:
    """Its steps; what follows on Redis elsewhere is for others."""
    elsewhere = section(README, "Redis")
    return [block for block in section(README, "Quick start") if block not in elsewhere]


@pytest.mark.slow
def test_the_quick_start_works_word_for_word_in_an_empty_project(reader: Reader) -> None:
    for block in quick_start():
        reader.follow(block)
    report, admin = re.findall(r"http://127\.0\.0\.1:8000/\w+/", README.read_text())
    job = json.loads(wait_until(lambda: reader.open(report), 30, "the site is up"))["job"]
    wait_until(lambda: reader.state_of(job) == "succeeded", 30, "the job succeeded")
    reader.log_in(admin)
    assert "Background tasks" in reader.open(admin)
    page = reader.open(f"{admin}django_bgtasks/job/{job}/change/")
    assert "shop.tasks.make_report" in page
    assert "42" in page
    worker, site = ((reader.directory / f"{name}.log").read_text() for name in STAY_UP)
    assert worker.count("Redis") == WITHOUT_REDIS.count("Redis")
    assert WITHOUT_REDIS in worker
    assert worker.count("docs/settings.md#the-database") == 1
    assert not re.findall("WARNING|ERROR|Traceback", worker)
    assert not re.findall(r"Redis|bgtasks\.|Traceback", site)


def clean_environment() -> dict[str, str]:
    """This one, without the settings of the tests; the package is found where it lies."""
    prefixes = ("BGTASKS_", "DJANGO_")
    env = {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}
    env.pop("REDIS_URL", None)
    return {**env, "PYTHONPATH": f"{NO_REDIS}:{ROOT}", "PYTHONUNBUFFERED": "1"}
