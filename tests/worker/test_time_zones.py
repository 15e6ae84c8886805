"""A job runs at its time, whatever zones the site, its database and the server are in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import timedelta
from uuid import UUID

import pytest

from django_bgtasks.models import Job, Worker
from tests.waiting import wait_until
from tests.workers import ROOT, WorkerFactory

from .conftest import Effects

DELAY = 2.0
DATABASE = os.environ.get("BGTASKS_TEST_DB", "sqlite").replace("sqlite", "")
SITES = {
    "naive in New York": {"USE_TZ": "0", "TIME_ZONE": "America/New_York"},
    "naive in Kolkata": {"USE_TZ": "0", "TIME_ZONE": "Asia/Kolkata"},
    "aware, stored in Tokyo": {"TIME_ZONE": "Europe/Berlin", "DB_TIME_ZONE": "Asia/Tokyo"},
    "aware, a server at -05:00": {"SERVER": "-05:00"},
    "naive in Berlin, a server at +09:00": {
        "USE_TZ": "0",
        "TIME_ZONE": "Europe/Berlin",
        "SERVER": "+09:00",
    },
}
SHORT = {"naive in New York", "aware, a server at -05:00"}


def environment_of(site: dict[str, str]) -> dict[str, str]:
    """What makes a process one of this site, with the process's own zone elsewhere."""
    env = {f"BGTASKS_TEST_{name}": value for name, value in site.items() if name != "SERVER"}
    if "SERVER" in site:
        statement = f"SET time_zone = '{site['SERVER']}'"
        options = {
            "mysql": {"init_command": statement},
            "postgres": {"options": f"-c TimeZone={site['SERVER']}"},
        }
        env["BGTASKS_TEST_DB_OPTIONS"] = json.dumps(options[DATABASE])
    return {"TZ": "Pacific/Auckland", **env}


# SQLite has no server.
@pytest.mark.long(after=1)
@pytest.mark.parametrize(
    "site",
    [
        site if site in SHORT else pytest.param(site, marks=pytest.mark.long)
        for site in SITES
        if "server" not in site or DATABASE
    ],
)
def test_a_job_runs_at_its_time_in_any_zone(
    bgworker: WorkerFactory, worker_env: dict[str, str], effects: Effects, site: str
) -> None:
    env = environment_of(SITES[site])
    bgworker(env=env)
    wait_until(Worker.objects.exists)
    command = [sys.executable, "-m", "tests.worker.zoned", str(effects), str(DELAY)]
    process = subprocess.run(
        command, env={**worker_env, **env}, cwd=ROOT, capture_output=True, text=True, check=True
    )
    ids = [UUID(line) for line in process.stdout.split()]
    wait_until(lambda: Job.objects.filter(pk__in=ids, state="succeeded").count() == 2, 10.0)
    for job in Job.objects.all():
        assert job.started_at is not None
        waited = job.started_at - job.enqueued_at
        # The delay is counted from the call, which a busy machine takes a while to store.
        assert timedelta(seconds=DELAY - 1) < waited < timedelta(seconds=DELAY + 2)
    assert Worker.objects.filter(lost_at=None, stopped_at=None).count() == 1
