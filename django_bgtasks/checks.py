"""System checks. They read settings only: what needs a look at Redis is in `bgdoctor`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from importlib.util import find_spec
from itertools import chain
from typing import Any

from django.apps import AppConfig, apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.core.checks import Warning as CheckWarning
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS
from django.utils.module_loading import import_string

from .advice import CACHES_HINT, advice_on_database, advice_on_redis
from .core.aliases import CURRENT
from .core.backport import task_classes
from .core.compat import InvalidTask
from .core.options import (
    SHORTEST_TOKEN,
    BackendSettings,
    backend_settings,
    entries,
    read,
    suggestion,
)
from .jobs.carried import carried_at, refuse_same_names
from .jobs.middleware import middleware_class
from .ledger.lifecycle import ledger_database
from .transport.connection import has_password, redis_is_named

USER, USER_MIDDLEWARE = "django_bgtasks.carry.user", "django_bgtasks.carry.user_middleware"


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
    return list(_elsewhere(ledger_database()))


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
    """What a site on the internet must not do, what may be meant otherwise, and advice."""
    backends = list(filter(_is_readable, entries()))
    found = [advice for backend in backends for advice in advice_on_redis(backend)]
    found += advice_on_database(ledger_database())
    return [
        *(CheckWarning(advice.line, hint=advice.hint, id=advice.id) for advice in found),
        *chain.from_iterable(map(_no_password, backends)),
        *chain.from_iterable(map(_no_user_middleware, backends)),
    ]


def _no_user_middleware(backend: str) -> Iterable[CheckMessage]:
    carries_user = USER in backend_settings(backend).options.carry
    if carries_user and USER_MIDDLEWARE not in settings.MIDDLEWARE:
        yield CheckWarning(
            f"The jobs of TASKS[{backend!r}] carry their user, but not the one of a request: "
            f"MIDDLEWARE does not have {USER_MIDDLEWARE!r}.",
            hint="Add it after AuthenticationMiddleware. If use_user() says everywhere who it is, "
            "add bgtasks.W006 to SILENCED_SYSTEM_CHECKS.",
            id="bgtasks.W006",
        )


def _no_password(backend: str) -> Iterable[CheckMessage]:
    if backend_settings(backend).options.redis_url is None or not redis_is_named(backend):
        return
    if not has_password(backend):
        yield CheckWarning(
            f"The Redis of TASKS[{backend!r}] has no password.",
            hint="Set requirepass in Redis and put the password into LOCATION: "
            "redis://:password@host:6379/0. `manage.py bgdoctor` checks the server itself.",
            id="bgtasks.W005",
        )


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
        if found.options.redis_url is not None:
            redis_is_named(found.backend)
    except ImproperlyConfigured as error:
        yield Error(str(error), hint=CACHES_HINT, id="bgtasks.E004")


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
    hint = (
        "Give the path of a class: class Timing(django_bgtasks.Middleware) in shop/bg.py is "
        "'shop.bg.Timing'."
    )
    for path in found.options.middleware:
        look = partial(middleware_class, path)
        yield from _refused(look, found, "middleware", hint, "bgtasks.E009")


def _carry(found: BackendSettings) -> Iterable[CheckMessage]:
    hint = (
        "Give the paths of Carried objects: tenant = django_bgtasks.Carried(…) in shop/bg.py is "
        "'shop.bg.tenant'."
    )

    def look() -> None:
        refuse_same_names([carried_at(path) for path in found.options.carry])

    yield from _refused(look, found, "carry", hint, "bgtasks.E015")


def _refused(
    look: Callable[[], object], found: BackendSettings, option: str, hint: str, code: str
) -> Iterable[CheckMessage]:
    """What look() refuses of an option, as an error."""
    try:
        look()
    except ImproperlyConfigured as error:
        yield Error(f"TASKS[{found.backend!r}]['OPTIONS']['{option}']: {error}", hint=hint, id=code)


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


CHECKS = (_unknown_options, _unknown_queues, _redis, _token, _middleware, _carry, _modules)


def _elsewhere(using: str) -> Iterable[CheckMessage]:
    if using != DEFAULT_DB_ALIAS:
        yield CheckWarning(
            f"Jobs live in the database {using!r}, not in {DEFAULT_DB_ALIAS!r}: a job and the data "
            f"of its view do not commit together.",
            hint="Let the database router keep django_bgtasks where the site's own data is.",
            id="bgtasks.W003",
        )


def _is_readable(backend: str) -> bool:
    """Whether no error is told of it."""
    try:
        redis_is_named(backend)
    except ImproperlyConfigured:
        return False
    return True
