"""Run with Wagtail: its tasks, made with the backport's decorator, run on this backend."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from testproject.servers import RedisServer

SETTINGS = """
INSTALLED_APPS += ["django_bgtasks"]
TASKS = {"default": {"BACKEND": "django_bgtasks.backend.RQBackend", "QUEUES": ["default"]}}
DATABASES["default"]["OPTIONS"] = {
    "transaction_mode": "IMMEDIATE",
    "init_command": "PRAGMA journal_mode=WAL;",
}
"""
PUBLISH = """
from wagtail.models import Page
page = Page.objects.get(depth=2).add_child(title="Hello", slug="hello-tasks")
page.save_revision().publish()
"""
COUNT = """
from collections import Counter
from django_bgtasks.models import Job
print(dict(Counter(Job.objects.values_list("task", "state"))))
states = set(Job.objects.values_list("state", flat=True))
assert states == {"succeeded"}, states
"""


def main() -> None:
    """Publish a page, run a worker, and see that all of Wagtail's jobs succeeded."""
    with tempfile.TemporaryDirectory() as directory, RedisServer(private=True) as redis:
        os.environ["REDIS_URL"] = redis.url
        os.chdir(directory)
        run("-c", "from wagtail.bin.wagtail import main; main()", "start", "site1", ".")
        with Path("site1/settings/base.py").open("a") as file:
            file.write(SETTINGS)
        run("manage.py", "migrate", "-v0")
        run("manage.py", "shell", "-v0", "-c", PUBLISH)
        run("manage.py", "bgworker", "--burst", "--no-reload")
        run("manage.py", "shell", "-v0", "-c", COUNT)


def run(*arguments: str) -> None:
    """Run Python, and fail if it does."""
    subprocess.run([sys.executable, *arguments], check=True)


if __name__ == "__main__":
    main()
