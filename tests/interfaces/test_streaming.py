"""The event stream of a job through what compresses and buffers answers."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from django_bgtasks import status_url
from django_bgtasks.models import Job
from testproject.servers.processes import end, free_port, spawn

from ..waiting import wait_until
from ..workers import ROOT, environment
from .rows import make_job
from .streaming import proxy_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


@pytest.fixture
def asgi(tmp_path: Path) -> Iterator[int]:
    """The port of uvicorn, in a process of its own, with GZipMiddleware."""
    port, log = free_port(), tmp_path / "uvicorn.log"
    env = {**environment(), "DJANGO_SETTINGS_MODULE": "tests.interfaces.streaming"}
    env.pop("DJANGO_ALLOW_ASYNC_UNSAFE", None)
    command = [sys.executable, "-m", "uvicorn", "django.core.asgi:get_asgi_application"]
    options = ["--factory", "--port", str(port), "--lifespan", "off"]
    stop = ["--timeout-graceful-shutdown", "2"]
    process = spawn([*command, *options, *stop], output=log, cwd=ROOT, env=env)

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            with get(port, "/jobs/") as response:
                return response.status == 404
        except OSError:
            return False

    try:
        wait_until(answers, 60, "an answer of uvicorn")
        yield port
    finally:
        end(process, signal.SIGTERM, timeout=10)
        print(log.read_text())


@contextmanager
def get(port: int, path: str) -> Iterator[HTTPResponse]:
    with closing(HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("GET", path, headers={"Accept-Encoding": "gzip, br"})
        with connection.getresponse() as response:
            yield response


def event_of(response: HTTPResponse) -> Any:
    """The next event; it ends the test when none comes while the job goes on."""
    for line in response:
        if line.startswith(b"data: "):
            return json.loads(line[6:])
    raise AssertionError("The stream has ended.")


@pytest.mark.long(after=2)
@pytest.mark.parametrize("proxied", [False, True], ids=["gzip", "gzip and a proxy"])
def test_an_event_arrives_when_it_happens(asgi: int, proxied: bool) -> None:
    job = make_job("running", progress_done=1, progress_total=9)
    address = status_url(job.pk, signed=True, view="job-events")
    with ExitStack() as opened:
        port = opened.enter_context(proxy_of(asgi)) if proxied else asgi
        response = opened.enter_context(get(port, address))
        assert response.headers["Content-Encoding"] == "identity"
        assert "no-transform" in response.headers["Cache-Control"]
        for done in range(2, 5):
            assert event_of(response)["progress"]["done"] == done - 1
            Job.objects.update(progress_done=done)
        assert event_of(response)["progress"]["done"] == 4
        Job.objects.update(state="succeeded", finished_at=timezone.now())
        assert event_of(response)["finished"]
        assert response.read() == b"\n"


def test_the_proxy_buffers_and_the_site_compresses_what_does_not_object(asgi: int) -> None:
    """Or the test above would say nothing."""
    with proxy_of(asgi) as port:
        for each in (asgi, port):
            with get(each, "/admin/login/") as response:
                assert response.headers["Content-Encoding"] == "gzip"
