"""Run with rq-dashboard and django-rq: while a job runs their pages show it and its worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from testproject.servers import RedisServer
from testproject.servers.processes import end, spawn, wait_for

SETTINGS = """
import os
INSTALLED_APPS += ["django_bgtasks", "django_rq", "jobs"]
ALLOWED_HOSTS = ["*"]
DATABASES["default"]["OPTIONS"] = {
    "transaction_mode": "IMMEDIATE",
    "init_command": "PRAGMA journal_mode=WAL",
}
RQ_QUEUES = {os.environ.get("OUR_QUEUE", "default"): {"URL": os.environ["REDIS_URL"]}}
"""
URLS = """
from django.urls import include
urlpatterns.append(path("django-rq/", include("django_rq.urls")))
"""
TASKS = """
import time
from pathlib import Path
from django_bgtasks import task

@task()
def waits():
    Path("begun").touch()
    while not Path("gate").exists():
        time.sleep(0.05)
"""
NAME = """
from django_bgtasks.core.options import default_backend
from django_bgtasks.transport.messages import namespace_of
print(namespace_of(default_backend(), "default").rq_queue("default"))
"""
ENQUEUE = """
from jobs.tasks import waits
waits.enqueue_many([(), ()])
"""
# In one process, with a client for each.
LOOK = """
import os
from django.contrib.auth import get_user_model
from django.test import Client
from flask import Flask
import rq_dashboard
import rq
from django_bgtasks.models import Job
from django_rq import get_connection

queue = os.environ["OUR_QUEUE"]
running, waiting = (Job.objects.get(state=state) for state in ("running", "queued"))
redis = get_connection(queue)
[worker] = rq.Worker.all(redis)
assert worker.get_current_job().id == str(running.pk)
user = get_user_model().objects.create_superuser("ada")
client = Client()
client.force_login(user)
flask = Flask("dashboard")
flask.config.from_object(rq_dashboard.default_settings)
flask.config["RQ_DASHBOARD_REDIS_URL"] = [os.environ["REDIS_URL"]]
rq_dashboard.web.setup_rq_connection(flask)
flask.register_blueprint(rq_dashboard.blueprint)
of_rq_dashboard = [
    "/", "/0/view/workers", "/0/view/jobs", "/0/data/workers.json", "/0/data/queues.json",
    f"/0/view/jobs/{queue}/queued/8/asc/1", f"/0/data/jobs/{queue}/queued/8/asc/1.json",
    *(f"/0/{kind}/job/{job.pk}{end}" for job in (running, waiting)
      for kind, end in (("view", ""), ("data", ".json"))),
]
of_django_rq = [
    "", "stats.json", "queues/0/", "queues/0/details/", "queues/0/started/", "queues/0/failed/",
    "workers/0/", f"workers/0/{worker.key}/",
    *(f"queues/0/{job.pk}/" for job in (running, waiting)),
]
answers = {path: flask.test_client().get(path) for path in of_rq_dashboard}
answers |= {path: client.get(f"/django-rq/{path}", follow=True) for path in of_django_rq}
codes = {path: answer.status_code for path, answer in answers.items()}
print(codes)
assert not [path for path, code in codes.items() if code >= 500], codes
for path in ("/0/view/workers", "/0/data/workers.json", "workers/0/", f"queues/0/{waiting.pk}/"):
    assert codes[path] == 200, path
shown = answers["/0/data/workers.json"].get_json()["workers"][0]
assert shown["state"] == "busy" and str(running.pk) in str(shown), shown
assert "run_by_bgworker" in answers[f"queues/0/{waiting.pk}/"].content.decode()
"""


def main() -> None:
    """Look at all pages while one job runs and another waits; then let a plain RQ worker try."""
    with tempfile.TemporaryDirectory() as directory, RedisServer(private=True) as redis:
        os.environ["REDIS_URL"] = redis.url
        os.chdir(directory)
        run("-m", "django", "startproject", "site1", ".")
        for file, text in (("site1/settings.py", SETTINGS), ("site1/urls.py", URLS)):
            with Path(file).open("a") as opened:
                opened.write(text)
        Path("jobs").mkdir()
        Path("jobs/__init__.py").touch()
        Path("jobs/tasks.py").write_text(TASKS)
        run("manage.py", "migrate", "-v0")
        os.environ["OUR_QUEUE"] = shell(NAME)
        shell(ENQUEUE)
        log = Path("worker.log")
        worker = spawn([sys.executable, "manage.py", "bgworker"], output=log)
        try:
            assert wait_for(Path("begun").exists, timeout=60), log.read_text()
            shell(LOOK)
            run("-m", "rq.cli", "info", "--url", redis.url)
            refuse_plain_worker(redis.url)
        finally:
            Path("gate").touch()
            end(worker, signal.SIGTERM, timeout=30)


def refuse_plain_worker(url: str) -> None:
    """A worker of RQ's that takes the message says who can run it."""
    command = [sys.executable, "-m", "rq.cli", "worker", os.environ["OUR_QUEUE"], "--burst"]
    done = subprocess.run([*command, "--url", url], capture_output=True, text=True, check=False)
    assert "Run it with `python manage.py bgworker`" in done.stdout + done.stderr, done


def shell(code: str) -> str:
    """Run Python in the site, and return what it prints."""
    command = [sys.executable, "manage.py", "shell", "-v0", "-c", code]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    print(printed, end="")
    return printed.strip()


def run(*arguments: str) -> None:
    """Run Python, and fail if it does."""
    subprocess.run([sys.executable, *arguments], check=True)


if __name__ == "__main__":
    main()
