"""Advice on the settings of a site that works as it is.

`check --deploy` and `bgdoctor` give it, and `bgworker` once at its start: no other command repeats
it. It reads settings only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from .core.options import backend_settings
from .transport.connection import DEFAULT_URL, OWN_CACHE, cache_name, redis_is_named

# Of its own: with a serializer for JSON, say, what other code stores in a cache would break.
ALIAS_LINES = f"""\
    "{OWN_CACHE}": {{
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": "{DEFAULT_URL}",
    }}"""
CACHES_HINT = f"""Add an alias to CACHES that nothing else uses:
{ALIAS_LINES}
or set the environment variable REDIS_URL. A small site needs no Redis, if it says so:
docs/settings.md#without-redis."""
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
# By the ids of the checks: what it is about, and where to read more.
TEXTS: dict[str, tuple[Any, str]] = {
    "bgtasks.W001": (
        gettext_lazy("No Redis is named: %(url)s is used."),
        "docs/settings.md#where-redis-is",
    ),
    "bgtasks.W002": (
        gettext_lazy(
            "Jobs go through the Redis of the cache %(cache)s, which pickles its values: who can "
            "write to that Redis runs code here."
        ),
        "docs/security.md#a-redis-user",
    ),
    "bgtasks.W004": (
        gettext_lazy(
            'The SQLite database %(using)s is used without %(missing)s: a view may get "database '
            'is locked", and who writes waits for all who read.'
        ),
        "docs/settings.md#the-database",
    ),
}


@dataclass(frozen=True, slots=True)
class Advice:
    """What would be better. id: that of the check. hint: what to paste into the settings."""

    id: str
    hint: str
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def line(self) -> str:
        """All of it in one line, in the language of who reads it."""
        text, where = TEXTS[self.id]
        return " ".join([str(text % self.params), _("See %s.") % where])


def advice_for(backend: str, using: str) -> Iterator[Advice]:
    """What `bgdoctor` and `bgworker` say of one backend and its database.

    Not what the site has silenced. And a site under development need not name its Redis: they say
    where it is, or what it means that there is none.
    """
    silenced = {*settings.SILENCED_SYSTEM_CHECKS, *(["bgtasks.W001"] if settings.DEBUG else [])}
    for advice in (*advice_on_redis(backend), *advice_on_database(using)):
        if advice.id not in silenced:
            yield advice


def advice_on_redis(backend: str) -> Iterator[Advice]:
    """Whether it is named, and who else uses it."""
    options = backend_settings(backend).options
    if options.redis_url is None:
        return
    if not redis_is_named(backend):
        yield Advice("bgtasks.W001", CACHES_HINT, {"url": DEFAULT_URL})
    name = cache_name(backend)
    if name in (None, OWN_CACHE) or (name == options.cache and name != "default"):
        return
    others: Any = settings.CACHES[name].get("OPTIONS", {})
    if "pickle" in str(others.get("SERIALIZER", "pickle")).lower():
        yield Advice("bgtasks.W002", PICKLE_HINT, {"cache": name})


def advice_on_database(using: str) -> Iterator[Advice]:
    """How SQLite is opened."""
    database = settings.DATABASES[using]
    if not database["ENGINE"].endswith("sqlite3") or ":memory:" in str(database.get("NAME")):
        return
    options = database.get("OPTIONS", {})
    is_immediate = options.get("transaction_mode") == "IMMEDIATE"
    has_wal = "journal_mode=wal" in "".join(options.get("init_command", "").lower().split())
    if not (is_immediate and has_wal):
        missing = _("WAL") if is_immediate else _("immediate transactions")
        if not (is_immediate or has_wal):
            missing = _("immediate transactions and WAL")
        yield Advice("bgtasks.W004", SQLITE_HINT % using, {"using": using, "missing": missing})
