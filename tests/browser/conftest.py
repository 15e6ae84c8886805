"""A browser, the site under WSGI and under ASGI in front of it, and real workers behind it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import enumerate as enumerate_threads
from typing import Any
from urllib.request import urlopen

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.test import Client
from playwright.sync_api import Browser, BrowserContext, Page
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from django_bgtasks.http import status
from testproject.servers.processes import end, free_port, spawn, wait_for
from tests.workers import ROOT, environment

from ..waiting import wait_until
from .chromium import LOOKS, chromium
from .settings import SITE

PATIENCE = 30_000  # milliseconds, on a loaded machine
UNSAFE = "DJANGO_ALLOW_ASYNC_UNSAFE"

# Playwright's own event loop runs in the thread of the tests: Django takes it for asynchronous.
os.environ[UNSAFE] = "true"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests here are `browser` tests."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker("browser")
            item.add_marker(pytest.mark.timeout(300))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Leave the outcome of a test at its item, for the picture of a failure."""
    report = yield
    if report.when == "call":
        item.stash[FAILED] = report.failed
    return report


FAILED = pytest.StashKey[bool]()


@pytest.fixture(scope="session")
def chrome() -> Iterator[Browser]:
    """Chromium, one for all tests."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def site(settings: Settings, transactional_db: None) -> None:
    """The pages of testproject."""
    for name, value in SITE.items():
        setattr(settings, name, value)


@pytest.fixture
def wsgi(site: None, live_server: LiveServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of the site under WSGI, in threads of this process."""
    monkeypatch.setattr(status, "LONGEST_WAIT", 2.0)
    yield live_server.url
    # A request that still waits for news must not outlive the database of its test.
    wait_for(lambda: not any("process_request" in t.name for t in enumerate_threads()), timeout=10)


@pytest.fixture
def asgi(site: None, tmp_path: Path) -> Iterator[str]:
    """The address of the site under ASGI: uvicorn in a process of its own."""
    port = free_port()
    env = {**environment(), "DJANGO_SETTINGS_MODULE": "tests.browser.settings"}
    env.pop(UNSAFE, None)
    command = [sys.executable, "-m", "uvicorn", "tests.browser.asgi:application"]
    log = tmp_path / "uvicorn.log"
    options = ["--port", str(port), "--lifespan", "off", "--timeout-graceful-shutdown", "2"]
    process = spawn([*command, *options], output=log, cwd=ROOT, env=env)
    address = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            return bool(urlopen(f"{address}/accounts/login/", timeout=10).status == 200)
        except OSError:
            return False

    try:
        wait_until(answers, 60, "an answer of uvicorn")
        yield address
    finally:
        end(process, signal.SIGTERM, timeout=10)
        print(log.read_text())


@pytest.fixture(params=["wsgi", "asgi"])
def server(request: pytest.FixtureRequest) -> str:
    """The address of the site, under both."""
    address: str = request.getfixturevalue(request.param)
    return address


@pytest.fixture
def context(chrome: Browser) -> Iterator[BrowserContext]:
    """One visitor: cookies of their own."""
    context = chrome.new_context(**LOOKS["light"])
    context.set_default_timeout(PATIENCE)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext, request: pytest.FixtureRequest) -> Iterator[Page]:
    """An empty tab. A test that fails leaves a picture of it, and errors of scripts fail it."""
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    if request.node.stash.get(FAILED, False):
        directory = Path(os.environ.get("BGTASKS_TEST_PICTURES", ROOT / ".pytest_cache"))
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"{request.node.name}.png"
        page.screenshot(path=path, full_page=True)
        print(f"The page, at the end: {path}")
    assert not errors


@pytest.fixture
def log_in(context: BrowserContext) -> Callable[[User, str], None]:
    """`log_in(user, address)` gives the browser the user's session."""

    def log_in(user: User, address: str) -> None:
        give_session(context, user, address)

    return log_in


def give_session(context: BrowserContext, user: User, address: str) -> None:
    """A session as the login page would make it, without the page."""
    client = Client()
    client.force_login(user)
    name = django_settings.SESSION_COOKIE_NAME
    context.add_cookies([{"name": name, "value": client.cookies[name].value, "url": address}])


@pytest.fixture
def ada(transactional_db: None) -> User:
    """A member of the site."""
    return User.objects.create_user("ada", "ada@example.org", "correct horse battery")


@pytest.fixture
def boss(transactional_db: None) -> User:
    """Who may do everything in the admin."""
    return User.objects.create_superuser("boss", "boss@example.org", "correct horse battery")
