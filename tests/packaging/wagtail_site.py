"""Run with Wagtail on Django's default SQLite settings.

Its tasks, made with the backport's decorator, run on this backend; and each of 40 publishes through
the admin, one right after the other, succeeds beside a worker that is busy with tasks that write.
"""

from __future__ import annotations

import http.cookiejar
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from html.parser import HTMLParser
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from testproject.servers import RedisServer
from testproject.servers.processes import end, free_port, spawn

PUBLISHES = 40
SETTINGS = """
INSTALLED_APPS += ["django_bgtasks", "jobs"]
TASKS = {"default": {"BACKEND": "django_bgtasks.backend.RQBackend", "QUEUES": ["default"]}}
"""
# Each job is followed by another one: the worker is busy until it is stopped.
TASKS = """
from uuid import uuid4
from django.contrib.auth.models import Group
from django.db import transaction
from django_bgtasks import task

@task()
def runs_again():
    runs_again.enqueue()

@task()
def writes_again():
    Group.objects.create(name=f"alone {uuid4()}")
    with transaction.atomic():
        Group.objects.filter(name="none").count()
        Group.objects.create(name=f"in a transaction {uuid4()}")
    writes_again.enqueue()
"""
USER = """
from django.contrib.auth import get_user_model
get_user_model().objects.create_superuser("ada", "ada@example.com", "secret")
"""
ENQUEUE = """
from jobs.tasks import runs_again, writes_again
runs_again.enqueue_many([()] * 200)
writes_again.enqueue_many([()] * 10)
"""
SUCCEEDED = """
SELECT COUNT(*) FROM django_bgtasks_job WHERE task LIKE 'jobs.%' AND state = 'succeeded'
"""
STOP = """
from django_bgtasks.models import Attempt, Job
Job.objects.filter(task__startswith="jobs.", state="queued").delete()
assert not Attempt.objects.exists(), list(Attempt.objects.values_list("message", flat=True))
"""
ALL_SUCCEEDED = """
from collections import Counter
from django_bgtasks.models import Job
print(dict(Counter(Job.objects.values_list("task", "state"))))
states = set(Job.objects.values_list("state", flat=True))
assert states == {"succeeded"}, states
assert Job.objects.filter(task="wagtail.tasks.update_reference_index_task").exists()
"""
EDIT = "/admin/pages/3/edit/"


def main() -> None:
    """Publish beside a busy worker, and see that all of Wagtail's jobs succeed."""
    with tempfile.TemporaryDirectory() as directory, RedisServer(private=True) as redis:
        os.environ["REDIS_URL"] = redis.url
        os.chdir(directory)
        run("-c", "from wagtail.bin.wagtail import main; main()", "start", "site1", ".")
        with Path("site1/settings/base.py").open("a") as file:
            file.write(SETTINGS)
        Path("jobs").mkdir()
        Path("jobs/__init__.py").touch()
        Path("jobs/tasks.py").write_text(TASKS)
        run("manage.py", "migrate", "-v0")
        shell(USER + ENQUEUE)
        port = free_port()
        address = f"http://127.0.0.1:{port}"
        with running("runserver", "--noreload", f"127.0.0.1:{port}"), running("bgworker"):
            publish_all(Visitor(address))
        shell(STOP)
        run("manage.py", "bgworker", "--burst", "--no-reload")
        shell(ALL_SUCCEEDED)


def publish_all(visitor: Visitor) -> None:
    """Log in, and publish the page again and again while the worker works; fail if one fails."""
    visitor.log_in()
    while not (before := count_succeeded()):
        time.sleep(0.1)
    answers = Counter(visitor.publish(f"Title {number}") for number in range(PUBLISHES))
    print(f"{PUBLISHES} publishes beside a busy worker: {dict(answers)}")
    print(f"The worker ran {count_succeeded() - before} jobs meanwhile.")
    assert answers == {"published": PUBLISHES}, answers


class Visitor:
    """An editor with a browser, as far as the admin needs one."""

    def __init__(self, address: str) -> None:
        self.address, self.cookies = address, http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.cookies))

    def log_in(self) -> None:
        """As soon as the site answers."""
        for _ in range(600):
            try:
                self._open("/admin/login/")
                break
            except urllib.error.URLError:
                time.sleep(0.1)
        self._post("/admin/login/", {"username": "ada", "password": "secret", "next": "/admin/"})

    def publish(self, title: str) -> str:
        """Open the page's form and publish it with another title; what came of it."""
        try:
            fields = Fields(self._open(EDIT)).values
            answer = self._post(EDIT, {**fields, "title": title, "action-publish": "1"})
        except urllib.error.HTTPError as error:
            text = error.read().decode()
            return f"{error.code} {'locked' if 'database is locked' in text else text[:200]}"
        return "published" if "has been published" in answer else "200, and not published"

    def _open(self, path: str, data: bytes | None = None) -> str:
        request = urllib.request.Request(self.address + path, data)
        with self._opener.open(request, timeout=120) as response:
            text: str = response.read().decode()
            return text

    def _post(self, path: str, fields: dict[str, str]) -> str:
        [token] = [cookie.value for cookie in self.cookies if cookie.name == "csrftoken"]
        given = {**fields, "csrfmiddlewaretoken": str(token)}
        return self._open(path, urllib.parse.urlencode(given).encode())


class Fields(HTMLParser):
    """The fields of the forms of a page, with what is in them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.values: dict[str, str] = {}
        self._open = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        name = found.get("name") or ""
        if tag == "input" and found.get("type", "text") in ("hidden", "text"):
            self.values[name] = found.get("value") or ""
        elif tag == "textarea":
            self.values[name], self._open = "", name

    def handle_data(self, data: str) -> None:
        if self._open:
            self.values[self._open] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea":
            self._open = ""


@contextmanager
def running(*command: str) -> Iterator[None]:
    """A command of manage.py, in processes of its own, until the end of the block."""
    log = Path(f"{command[0]}.log")
    process = spawn([sys.executable, "manage.py", *command], output=log)
    try:
        yield
    except BaseException:
        print(log.read_text(errors="replace")[-5000:])
        raise
    finally:
        end(process, signal.SIGTERM, timeout=60)


def shell(code: str) -> str:
    """Run Python in the site, and return what it prints."""
    command = [sys.executable, "manage.py", "shell", "-v0", "-c", code]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    print(printed, end="")
    return printed


def count_succeeded() -> int:
    """How many of the site's own jobs have succeeded."""
    with closing(sqlite3.connect("file:db.sqlite3?mode=ro", uri=True)) as session:
        [count] = session.execute(SUCCEEDED).fetchone()
    return int(count)


def run(*arguments: str) -> None:
    """Run Python, and fail if it does."""
    subprocess.run([sys.executable, *arguments], check=True)


if __name__ == "__main__":
    main()
