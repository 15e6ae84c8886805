"""What `bgdoctor` looks at: each finding says what is wrong and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db import DatabaseError, connections
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ..advice import advice_for
from ..core.formats import exact
from ..core.messages import WITHOUT_REDIS_PAGE
from ..ledger import pooler
from ..ledger.identity import identity_of, short
from ..monitoring.diagnosis import diagnose
from ..monitoring.problems import Level
from ..monitoring.snapshot import Snapshot, take_snapshot
from ..transport.connection import RedisError, connection, describe, has_password, reason
from ..transport.messages import namespace_of
from ..transport.neighbours import Neighbour, neighbours
from ..transport.permissions import cure, essential, missing, user_of
from ..worker.preflight import redis_silence, unapplied


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `cure` is empty when it is as it should be, and at the level
    INFO where the text says it.
    """

    what: str
    cure: str = ""
    level: Level = Level.CRITICAL

    @property
    def ok(self) -> bool:
        """Whether there is nothing to do."""
        return not self.cure and self.level is not Level.INFO


def examine(backend: str, using: str) -> Iterator[Finding]:
    """Look at the database, at Redis and at the workers of a backend."""
    try:
        missing = unapplied(using)
    except DatabaseError as error:
        text = _("The database does not answer: %s")
        yield Finding(text % reason(error).text, _("Check DATABASES."))
        return
    if missing:
        text = _("Migrations are missing: %s.") % ", ".join(missing)
        yield Finding(text, "python manage.py migrate")
        return
    yield Finding(_("The database %r answers and its tables are up to date.") % using)
    yield from _pooler(using)
    snapshot = take_snapshot(backend, using)
    if snapshot.redis.note:
        yield Finding(f"{snapshot.redis.note.text} ({WITHOUT_REDIS_PAGE})")
    # One that does not answer is in the diagnosis.
    elif redis_silence(backend) is None:
        yield from _redis(backend, using)
    yield from _diagnosis(snapshot)
    for advice in advice_for(backend, using):
        yield Finding(advice.line, level=Level.INFO)


def _pooler(using: str) -> Iterator[Finding]:
    connection = connections[using]
    if not pooler.is_pooled(connection):
        return
    text = _("A pooler, such as PgBouncer, stands before it: nothing is prepared or set there.")
    cure = _("Set DATABASES[%r]['DISABLE_SERVER_SIDE_CURSORS'] to True.") % using
    is_declared = pooler.says_so(connection)
    yield Finding(text, "" if is_declared else cure, Level.WARNING)


def _redis(backend: str, using: str) -> Iterator[Finding]:
    yield Finding(_("Redis at %s answers.") % describe(backend))
    if not has_password(backend):
        cure = _("Set requirepass and put it into the URL.")
        yield Finding(_("Redis has no password."), cure, Level.WARNING)
    try:
        yield from _permissions(backend, using)
    except RedisError as error:
        text = _("Redis at %(address)s cannot be used: %(why)s")
        values = {"address": describe(backend), "why": reason(error).text}
        yield Finding(text % values, _("Jobs run from the database meanwhile."))
        return
    yield from _memory(backend)
    yield from _namespaces(backend, using)


def _permissions(backend: str, using: str) -> Iterator[Finding]:
    redis = connection(backend)
    rules = missing(namespace_of(backend, using), redis)
    if not rules:
        yield Finding(_("Redis allows all that is needed."))
        return
    text = _("The Redis user %(user)s lacks permissions: %(rules)s.")
    if not essential(rules):
        text = _("The Redis user %(user)s lacks permissions that can be done without: %(rules)s.")
    level = Level.CRITICAL if essential(rules) else Level.WARNING
    values = {"user": user_of(redis), "rules": " ".join(rules)}
    yield Finding(text % values, cure(rules, redis), level)


def _namespaces(backend: str, using: str) -> Iterator[Finding]:
    """By which name this ledger goes in Redis, and who else is there."""
    names, row = namespace_of(backend, using), identity_of(using)
    values: dict[str, Any] = {"name": names.name, "queue": names.rq_queue("default")}
    yield Finding(_("In Redis this ledger is %(name)s; its queues are like %(queue)s.") % values)
    if row.copied_from is not None:
        values = {"former": short(row.copied_from), "name": names.ledger}
        values["time"] = exact(row.named_at)
        text = _("It was %(former)s, in a copy or before a move, and is %(name)s since %(time)s.")
        yield Finding(text % values)
    try:
        others = neighbours(names, connection(backend))
    except RedisError as error:
        text = _("Redis does not tell who else uses it: %s") % reason(error).text
        yield Finding(text, _("Allow it; see docs/security.md."), Level.WARNING)
        return
    for other in others:
        yield Finding(_neighbour(other))
    if others:
        yield Finding(_("They do not meet, but `rq suspend` holds the workers of all."))


def _neighbour(other: Neighbour) -> str:
    what = _("queues in use: %(queues)d, messages: %(messages)d, worker processes: %(workers)d")
    values = {"queues": other.queues, "messages": other.messages, "workers": other.workers}
    if not other.name:
        return _("Plain RQ is there too: %s.") % (what % values)
    state = _("with workers") if other.alive else _("without workers")
    text = _("The ledger %(name)s (%(about)s, %(state)s) is there too: %(what)s.")
    about = other.about or _("database unknown")
    return text % {"name": other.name, "about": about, "state": state, "what": what % values}


def _memory(backend: str) -> Iterator[Finding]:
    try:
        info: Any = connection(backend).info("memory")
    except RedisError as error:
        text = _("Redis does not tell its memory: %s") % reason(error).text
        yield Finding(text, _("Allow INFO."), Level.WARNING)
        return
    policy = info.get("maxmemory_policy", "noeviction")
    if policy == "noeviction":
        yield Finding(_("Redis evicts nothing (maxmemory-policy noeviction)."))
        return
    text = _("Redis may evict messages (maxmemory-policy %s); each costs a delay.") % policy
    cure = _("CONFIG SET maxmemory-policy noeviction, or use a Redis of its own.")
    yield Finding(text, cure, Level.WARNING)


def _diagnosis(snapshot: Snapshot) -> Iterator[Finding]:
    """What the dashboard and `bgstatus` say of the running site, with the same levels."""
    if alive := snapshot.alive:
        yield Finding(ngettext("%d worker is alive.", "%d workers are alive.", alive) % alive)
    for problem in diagnose(snapshot):
        yield Finding(problem.what, problem.cure, problem.level)
