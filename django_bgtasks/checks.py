"""System checks. They read settings only: what needs a look at Redis is in `bgdoctor`."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from importlib.util import find_spec
from typing import Any

from django.apps import AppConfig, apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.core.checks import Warning as CheckWarning
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS
from django.utils.module_loading import import_string

from .core.aliases import CURRENT
from .core.backport import task_classes
from .core.compat import InvalidTask
from .core.options import SHORTEST_TOKEN, BackendSettings, entries, read, suggestion
from .jobs.middleware import middleware_class
from .ledger.lifecycle import ledger_database
from .transport.connection import OWN_CACHE, cache_name, has_password, redis_is_named

# Of its own: with a serializer for JSON, say, what other code stores in a cache would break.
ALIAS_LINES = f"""\
    "{OWN_CACHE}": {{
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": "redis://127.0.0.1:6379/0",
    }}"""
CACHES_HINT = f"""Add an alias to CACHES that nothing else uses:
{ALIAS_LINES}
or set the environment variable REDIS_URL."""
PICKLE_HINT = f"""Add an alias to CACHES that nothing else uses:
{ALIAS_LINES}
Let it name a Redis of its own, or a Redis user who may not write what the caches hold: see \
docs/security.md. A serializer for JSON on a cache that others use breaks cache_page, for one."""
SQLITE_HINT = """Add to DATABASES[%r]:
    "OPTIONS": {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }"""


@register("bgtasks")
def check_backends(**kwargs: Any) -> list[CheckMessage]:
    """The entries of TASKS that use this package."""
    messages: list[CheckMessage] = []
    for backend, entry in entries().items():
        try:
            found = read(backend, entry)
        except ImproperlyConfigured as error:
            messages.append(Error(str(error), hint="See docs/settings.md.", id="bgtasks.E002"))
            continue
        for check in CHECKS:
            messages += check(found)
    return messages


@register("bgtasks")
def check_ledger(**kwargs: Any) -> list[CheckMessage]:
    """The database that holds the ledger, as DATABASES describes it."""
    using = ledger_database()
    return [*_elsewhere(using), *_sqlite(using)]


@register("bgtasks")
def check_task_aliases(**kwargs: Any) -> list[CheckMessage]:
    """The aliases of tasks that are imported here: none of them leads to a task of its own."""
    return [
        Error(
            f"{path}: the alias {alias!r} is a task itself, so its jobs would run with another "
            f"task than before.",
            hint="Remove one of the two tasks, or the alias.",
            id="bgtasks.E014",
        )
        for alias, path in list(CURRENT.items())
        if _is_task(alias, path)
    ]


def _is_task(alias: str, path: str) -> bool:
    try:
        found: Any = import_string(alias)
    except InvalidTask:
        # A task's definition is refused whose path is an alias.
        return True
    except Exception:
        return False
    return isinstance(found, task_classes()) and found.module_path != path


@register("bgtasks", deploy=True)
def check_deployment(**kwargs: Any) -> list[CheckMessage]:
    """What a site on the internet must not do."""
    return [
        CheckWarning(
            f"The Redis of TASKS[{backend!r}] has no password.",
            hint="Set requirepass in Redis and put the password into LOCATION: "
            "redis://:password@host:6379/0. `manage.py bgdoctor` checks the server itself.",
            id="bgtasks.W005",
        )
        for backend in entries()
        if _is_readable(backend) and not has_password(backend)
    ]


def _unknown_options(found: BackendSettings) -> Iterable[CheckMessage]:
    for name in found.unknown:
        yield Error(
            f"TASKS[{found.backend!r}]['OPTIONS'] has the unknown option {name!r}.",
            hint=suggestion(name),
            id="bgtasks.E001",
        )


def _unknown_queues(found: BackendSettings) -> Iterable[CheckMessage]:
    depths = found.options.max_depth
    if not found.queues or not isinstance(depths, dict):
        return
    for name in sorted(set(depths) - found.queues):
        yield Error(
            f"TASKS[{found.backend!r}]['OPTIONS']['max_depth'] names the queue {name!r}, which is "
            f"not configured.",
            hint=f"Add it to QUEUES, or remove it. QUEUES has: {', '.join(sorted(found.queues))}.",
            id="bgtasks.E003",
        )


def _redis(found: BackendSettings) -> Iterable[CheckMessage]:
    try:
        named = redis_is_named(found.backend)
    except ImproperlyConfigured as error:
        yield Error(str(error), hint=CACHES_HINT, id="bgtasks.E004")
        return
    if not named:
        yield CheckWarning(
            "There is no django-redis cache and no Redis URL: redis://127.0.0.1:6379/0 is used.",
            hint=CACHES_HINT,
            id="bgtasks.W001",
        )


def _pickle(found: BackendSettings) -> Iterable[CheckMessage]:
    name = cache_name(found.backend) if _is_readable(found.backend) else None
    is_its_own = name == OWN_CACHE or (name == found.options.cache and name != "default")
    if name is None or is_its_own:
        return
    options: Any = settings.CACHES[name].get("OPTIONS", {})
    serializer = str(options.get("SERIALIZER", "pickle"))
    if "pickle" in serializer.lower():
        yield CheckWarning(
            f"Jobs go through the Redis of the cache {name!r}, which pickles its values: who can "
            f"write to that Redis runs code here.",
            hint=PICKLE_HINT,
            id="bgtasks.W002",
        )


def _token(found: BackendSettings) -> Iterable[CheckMessage]:
    token = found.options.monitoring_token
    if token is not None and len(token) < SHORTEST_TOKEN:
        yield Error(
            f"TASKS[{found.backend!r}]['OPTIONS']['monitoring_token'] has {len(token)} characters: "
            f"it can be guessed. It takes at least {SHORTEST_TOKEN}.",
            hint="Make one: python -c 'import secrets; print(secrets.token_urlsafe(32))'",
            id="bgtasks.E008",
        )


def _middleware(found: BackendSettings) -> Iterable[CheckMessage]:
    for path in found.options.middleware:
        try:
            middleware_class(path)
        except ImproperlyConfigured as error:
            yield Error(
                f"TASKS[{found.backend!r}]['OPTIONS']['middleware']: {error}",
                hint="Give the path of a class: class Timing(django_bgtasks.Middleware) in "
                "shop/bg.py is 'shop.bg.Timing'.",
                id="bgtasks.E009",
            )


def _modules(found: BackendSettings) -> Iterable[CheckMessage]:
    for name in found.options.modules:
        if not any(map(partial(_has_module, name), apps.get_app_configs())):
            yield Error(
                f"TASKS[{found.backend!r}]['OPTIONS']['modules'] names {name!r}, and no app in "
                f"INSTALLED_APPS has a module of that name.",
                hint="Name the module as each app has it: 'handlers' for shop/handlers.py.",
                id="bgtasks.E013",
            )


def _has_module(name: str, app: AppConfig) -> bool:
    try:
        return find_spec(f"{app.name}.{name}") is not None
    except Exception:
        # To look for "a.b" imports "a", which may raise anything.
        return False


CHECKS = (_unknown_options, _unknown_queues, _redis, _pickle, _token, _middleware, _modules)


def _elsewhere(using: str) -> Iterable[CheckMessage]:
    if using != DEFAULT_DB_ALIAS:
        yield CheckWarning(
            f"Jobs live in the database {using!r}, not in {DEFAULT_DB_ALIAS!r}: a job and the data "
            f"of its view do not commit together.",
            hint="Let the database router keep django_bgtasks where the site's own data is.",
            id="bgtasks.W003",
        )


def _sqlite(using: str) -> Iterable[CheckMessage]:
    database = settings.DATABASES[using]
    if not database["ENGINE"].endswith("sqlite3") or ":memory:" in str(database.get("NAME")):
        return
    options = database.get("OPTIONS", {})
    missing = []
    if options.get("transaction_mode") != "IMMEDIATE":
        missing.append("immediate transactions")
    if "journal_mode=wal" not in "".join(options.get("init_command", "").lower().split()):
        missing.append("WAL")
    if missing:
        yield CheckWarning(
            f"The SQLite database {using!r} is used without {' and '.join(missing)}: a view that "
            f'reads and then writes in one transaction fails at once with "database is locked" '
            f"while somebody else writes, and who writes waits for all who read.",
            hint=SQLITE_HINT % using,
            id="bgtasks.W004",
        )


def _is_readable(backend: str) -> bool:
    try:
        redis_is_named(backend)
    except ImproperlyConfigured:
        return False
    return True
