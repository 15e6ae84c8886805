"""The system checks: what is wrong, with which setting, and a hint that can be pasted."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from django.core.checks import CheckMessage, run_checks
from pytest_django import Settings

from django_bgtasks.advice import TEXTS, advice_for
from django_bgtasks.core.messages import WITHOUT_REDIS_PAGE
from django_bgtasks.transport.connection import cache_name
from tests.docs.markdown import ROOT

REDIS_CACHE = "django_redis.cache.RedisCache"
JSON = {"SERIALIZER": "django_redis.serializers.json.JSONSerializer"}
Change = Callable[[Settings], None]


def messages(*, deploy: bool = False) -> dict[str, CheckMessage]:
    """Our messages by id."""
    found = run_checks(tags=["bgtasks"], include_deployment_checks=deploy)
    return {str(message.id): message for message in found}


@pytest.fixture
def tasks(settings: Settings) -> Callable[..., None]:
    """Set OPTIONS and QUEUES of the default backend."""

    def change(queues: list[str] | None = None, **options: Any) -> None:
        entry = deepcopy(settings.TASKS["default"])
        entry["OPTIONS"] = options
        if queues is not None:
            entry["QUEUES"] = queues
        settings.TASKS = {"default": entry}

    return change


def test_the_settings_of_the_tests_themselves_have_nothing_to_mend() -> None:
    assert messages() == {}


def test_an_unknown_option_is_named_with_the_one_that_was_meant(
    tasks: Callable[..., None],
) -> None:
    tasks(max_dept=3)
    error = messages()["bgtasks.E001"]
    assert "'max_dept'" in error.msg
    assert error.hint == "Did you mean 'max_depth'?"


@pytest.mark.parametrize(
    "wrong",
    [
        *({"timeout": 0}, {"timeout": "5"}, {"dead_after": 4.0}, {"monitoring_token": 7}),
        {"redis_url": ["redis://127.0.0.1:6379/0"]},
        *({"middleware": "shop.bg.Timing"}, {"carry": "shop.bg.tenant"}, {"carry": [1]}),
        *({"modules": "jobs"}, {"modules": [7]}, {"modules": ["shop/jobs.py"]}, {"modules": [""]}),
    ],
)
def test_a_wrong_value_is_an_error_that_names_the_option(
    tasks: Callable[..., None], wrong: dict[str, Any]
) -> None:
    tasks(**wrong)
    assert next(iter(wrong)) in messages()["bgtasks.E002"].msg


def test_a_depth_for_a_queue_that_is_not_configured_is_an_error(
    tasks: Callable[..., None],
) -> None:
    tasks(queues=["default"], max_depth={"mails": 10})
    error = messages()["bgtasks.E003"]
    assert "'mails'" in error.msg
    assert "default" in str(error.hint)


def test_a_token_that_can_be_guessed_is_an_error_that_does_not_tell_it(
    tasks: Callable[..., None],
) -> None:
    tasks(monitoring_token="hunter2")
    error = messages()["bgtasks.E008"]
    assert "hunter2" not in f"{error.msg}{error.hint}"
    assert "secrets.token_urlsafe" in str(error.hint)
    tasks(monitoring_token="x" * 20)
    assert "bgtasks.E008" not in messages()


@pytest.mark.parametrize("path", ["tests.jobs.middleware.Nowhere", "tests.jobs.middleware.write"])
def test_what_is_no_middleware_is_an_error_with_a_cure(
    tasks: Callable[..., None], path: str
) -> None:
    tasks(middleware=["tests.jobs.middleware.ToFile", path])
    error = messages()["bgtasks.E009"]
    assert path in error.msg
    assert "shop.bg.Timing" in str(error.hint)


@pytest.mark.parametrize("name", ["nowhere", "no_carried", "same_name"])
def test_what_is_no_carried_is_an_error_with_a_cure(tasks: Callable[..., None], name: str) -> None:
    tasks(carry=["tests.jobs.carried.tenant", "django_bgtasks.carry.user"])
    assert "bgtasks.E015" not in messages()
    tasks(carry=["tests.jobs.carried.tenant", f"tests.jobs.carried.{name}"])
    error = messages()["bgtasks.E015"]
    assert (name if name != "same_name" else "the name 'tenant'") in error.msg
    assert "shop.bg.tenant" in str(error.hint)


def test_a_carried_user_whom_no_middleware_tells_is_a_warning_of_a_deployment(
    tasks: Callable[..., None], settings: Settings
) -> None:
    assert "bgtasks.W006" not in messages(deploy=True)
    tasks(carry=["django_bgtasks.carry.user"])
    assert "bgtasks.W006" in messages(deploy=True)
    assert "bgtasks.W006" not in messages()
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django_bgtasks.carry.user_middleware"]
    assert "bgtasks.W006" not in messages(deploy=True)


@pytest.mark.parametrize("cache", ["missing", "local"])
def test_a_cache_that_is_not_of_django_redis_is_an_error(
    tasks: Callable[..., None], settings: Settings, cache: str
) -> None:
    local = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
    settings.CACHES = {**settings.CACHES, "local": local}
    tasks(cache=cache)
    error = messages()["bgtasks.E004"]
    assert repr(cache) in error.msg
    assert "django_redis.cache.RedisCache" in str(error.hint)


def test_no_redis_cache_and_no_url_is_a_warning_with_settings_to_paste(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REDIS_URL", raising=False)
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    found = messages(deploy=True)
    hint = str(found["bgtasks.W001"].hint)
    # There is none yet that could have a password.
    assert "bgtasks.W005" not in found
    settings.CACHES = {**settings.CACHES, **pasted_alias(hint)}
    assert "bgtasks.W001" not in messages(deploy=True)


def test_a_url_in_the_options_or_in_the_environment_is_enough(
    settings: Settings, tasks: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    tasks(redis_url="redis://127.0.0.1:6379/3")
    assert "bgtasks.W001" not in messages(deploy=True)
    tasks()
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:6379/3")
    assert "bgtasks.W001" not in messages(deploy=True)


@pytest.mark.parametrize(
    "url", ["localhost:6379", "http://127.0.0.1:6379/0", "redis://:hunter/2@127.0.0.1:6379/0"]
)
@pytest.mark.parametrize("where", ["the options", "the environment"])
def test_an_address_that_is_none_is_an_error_that_does_not_tell_the_password(
    settings: Settings,
    tasks: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    url: str,
    where: str,
) -> None:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    if where == "the options":
        tasks(redis_url=url)
    else:
        monkeypatch.setenv("REDIS_URL", url)
    [error] = messages(deploy=True).values()
    assert error.id == "bgtasks.E004"
    assert ("'redis_url'" if where == "the options" else "REDIS_URL") in error.msg
    assert "hunter" not in f"{error.msg}{error.hint}"


def test_who_does_without_redis_is_not_advised_on_one(
    settings: Settings, tasks: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", "nowhere")
    tasks(redis_url=None)
    assert not set(messages(deploy=True)) - {"bgtasks.W004"}


@pytest.mark.parametrize("debug", [True, False])
def test_a_worker_advises_a_deployed_site_to_name_its_redis(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, *, debug: bool
) -> None:
    monkeypatch.delenv("REDIS_URL", raising=False)
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    settings.DEBUG = debug
    lines = [advice.line for advice in advice_for("default", "default")]
    assert [line.count("docs/settings.md#where-redis-is") for line in lines] == [1] * (not debug)
    settings.SILENCED_SYSTEM_CHECKS = ["bgtasks.W001"]
    assert list(advice_for("default", "default")) == []


def test_advice_is_one_line_that_says_where_to_read_more() -> None:
    pages = {where.partition("#") for _, where in [*TEXTS.values(), ("", WITHOUT_REDIS_PAGE)]}
    for page, _, anchor in pages:
        headings = re.findall(r"^#+ (.+)$", (ROOT / page).read_text(), re.MULTILINE)
        assert anchor in [heading.lower().replace(" ", "-") for heading in headings]
    assert not [text for text, _ in TEXTS.values() if "\n" in str(text)]


def test_no_advice_is_given_at_each_command(settings: Settings) -> None:
    settings.CACHES = {"default": {"BACKEND": REDIS_CACHE, "LOCATION": "redis://127.0.0.1/0"}}
    assert messages() == {}


def test_a_cache_that_others_use_and_that_pickles_is_a_warning(settings: Settings) -> None:
    settings.CACHES = {"default": {"BACKEND": REDIS_CACHE, "LOCATION": "redis://127.0.0.1/0"}}
    warning = messages(deploy=True)["bgtasks.W002"]
    settings.CACHES = {**settings.CACHES, **pasted_alias(str(warning.hint))}
    assert cache_name("default") == "bgtasks"
    assert not {"bgtasks.W001", "bgtasks.W002"} & set(messages(deploy=True))


def test_a_cache_that_is_named_for_jobs_alone_may_pickle(
    settings: Settings, tasks: Callable[..., None]
) -> None:
    settings.CACHES = {
        **settings.CACHES,
        "jobs": {"BACKEND": REDIS_CACHE, "LOCATION": "redis://127.0.0.1/0"},
    }
    tasks(cache="jobs")
    assert "bgtasks.W002" not in messages(deploy=True)


def test_the_cache_of_jobs_is_a_django_redis_cache(settings: Settings) -> None:
    local = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
    settings.CACHES = {**settings.CACHES, "bgtasks": local}
    assert "django-redis" in str(messages()["bgtasks.E004"].msg)


def pasted_alias(hint: str) -> dict[str, Any]:
    """What the lines of the hint add to CACHES."""
    lines = [line for line in hint.splitlines() if line.startswith("    ")]
    added: dict[str, Any] = ast.literal_eval("{" + "\n".join(lines) + "}")
    return added


@pytest.mark.sqlite
def test_sqlite_without_wal_or_immediate_transactions_is_a_warning(settings: Settings) -> None:
    # Only what the check reads: the connection of the tests stays as it is.
    options = settings.DATABASES["default"]["OPTIONS"]
    before = dict(options)
    try:
        assert "bgtasks.W004" not in messages(deploy=True)
        options.clear()
        assert "bgtasks.W004" not in messages()
        warning = messages(deploy=True)["bgtasks.W004"]
        assert "immediate transactions and WAL" in warning.msg
        assert '"transaction_mode": "IMMEDIATE"' in str(warning.hint)
    finally:
        options.update(before)


def test_jobs_in_another_database_than_the_site_are_a_warning(settings: Settings) -> None:
    settings.DATABASE_ROUTERS = ["tests.interfaces.test_checks.Elsewhere"]
    settings.DATABASES["jobs"] = settings.DATABASES["default"]
    try:
        assert "'jobs'" in messages()["bgtasks.W003"].msg
    finally:
        del settings.DATABASES["jobs"]


class Elsewhere:
    """A database router that sends everything away."""

    def db_for_write(self, model: type, **hints: Any) -> str:
        return "jobs"


def test_no_password_is_a_matter_of_a_deployment_only(settings: Settings) -> None:
    assert "bgtasks.W005" not in messages()
    assert "bgtasks.W005" in messages(deploy=True)
    location = "redis://:secret@127.0.0.1:6379/0"
    settings.CACHES = {
        "default": {"BACKEND": REDIS_CACHE, "LOCATION": location, "OPTIONS": dict(JSON)}
    }
    assert "bgtasks.W005" not in messages(deploy=True)


def test_a_mail_backend_that_would_deliver_to_itself_is_an_error(settings: Settings) -> None:
    settings.BGTASKS_EMAIL_BACKEND = "django_bgtasks.mail.BackgroundEmailBackend"
    assert "no email would ever go out" in messages()["bgtasks.E006"].msg


def test_a_mail_queue_that_is_not_configured_is_an_error(settings: Settings) -> None:
    settings.BGTASKS_EMAIL_QUEUE = "letters"
    assert "'letters'" in messages()["bgtasks.E007"].msg


def test_no_check_and_no_start_of_the_site_talks_to_redis() -> None:
    script = """
import socket
from django.conf import settings
settings.configure(SECRET_KEY="x", INSTALLED_APPS=["django.contrib.auth",
    "django.contrib.contenttypes", "django_bgtasks"])
import django
from django.core.management import call_command
def refuse(*args): raise SystemExit("it connects to " + repr(args[1:]))
socket.socket.connect = refuse
django.setup()
call_command("check", deploy=True)
"""
    command = [sys.executable, "-c", script]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "bgtasks.W001" in run.stderr


@pytest.mark.parametrize("name", ["jbos", "tests.app.tasks", "tasks.more"])
def test_a_module_that_no_app_has_is_named(tasks: Callable[..., None], name: str) -> None:
    tasks(modules=["models", name])
    error = messages()["bgtasks.E013"]
    assert f"names {name!r}, and no app in INSTALLED_APPS" in error.msg
    tasks(modules=["models", "admin.filters"])
    assert "bgtasks.E013" not in messages()
