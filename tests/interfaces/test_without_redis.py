"""A site without Redis says what that means, and that all is well."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client
from django.utils import translation
from pytest_django import Settings

from django_bgtasks.transport import connection
from testproject.servers.processes import free_port

from .commands import run
from .rows import make_worker

pytestmark = pytest.mark.django_db(transaction=True)
NOTE = "without Redis: jobs start within 0.5 s; with Redis within milliseconds"
TOKEN = "only-machines-know-this-one"
NOWHERE = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}


@pytest.fixture(params=["by an option", "while the site is written"], autouse=True)
def without_redis(
    request: pytest.FixtureRequest, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A healthy site without Redis."""
    options: dict[str, Any] = {"redis_url": None}
    if request.param == "while the site is written":
        settings.DEBUG, settings.CACHES, options = True, NOWHERE, {}
        monkeypatch.delenv("REDIS_URL", raising=False)
        monkeypatch.setattr(connection, "DEFAULT_URL", f"redis://127.0.0.1:{free_port()}/0")
    options["monitoring_token"] = TOKEN
    settings.TASKS = {"default": {**settings.TASKS["default"], "OPTIONS": options}}
    make_worker()


def test_bgstatus_says_it_and_that_all_is_well() -> None:
    text, code = run("bgstatus")
    assert text.splitlines()[0].endswith(f"redis: {NOTE}")
    assert "Start Redis" not in text
    assert code == 0


def test_a_program_reads_a_code() -> None:
    text, code = run("bgstatus", "--json")
    answer = json.loads(text)
    assert answer["redis"]["note"] == {"code": "without_redis", "params": {}}
    assert (answer["level"], answer["problems"], answer["redis"]["used"]) == ("ok", [], False)
    assert code == 0


def test_bgdoctor_says_it_and_where_to_read_more() -> None:
    text, code = run("bgdoctor")
    assert f"ok    {NOTE} (docs/settings.md#without-redis)" in text.splitlines()
    assert "Redis at" not in text
    assert code == 0


def test_the_dashboard_says_it_among_the_facts(admin_client: Client) -> None:
    page = admin_client.get("/admin/django_bgtasks/dashboard/").content.decode()
    assert f"<dd>{NOTE}</dd>" in page
    assert "Start Redis" not in page


def test_probes_say_it_and_are_well() -> None:
    client = Client(headers={"Authorization": f"Bearer {TOKEN}"})
    for probe in ("healthz", "readyz"):
        response = client.get(f"/jobs/{probe}")
        assert response.status_code == 200
        assert response.json() == {
            "ok": True, "backends": {"default": []}, "notes": {"default": [NOTE]}
        }  # fmt: skip


def test_it_is_said_in_the_language_of_who_reads_it() -> None:
    with translation.override("de"):
        assert "ohne Redis: Aufgaben beginnen binnen 0,5 s" in run("bgstatus")[0]
