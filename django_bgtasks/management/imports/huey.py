"""The waiting tasks of Huey, read from its Redis or its SQLite file by their keys."""

from __future__ import annotations

import gzip
import re
import sqlite3
import zlib
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from django.conf import settings
from django.utils import timezone

from ...contrib.huey.app import HueyTask, steps_of
from ...contrib.huey.signatures import HueySignature
from ...core.aliases import CURRENT
from ...jobs.discovery import try_to_discover
from ...transport.foreign import ForeignRedis
from .findings import Findings, Found, FoundCall, Unmovable, function_at, in_future
from .pickles import read_pickle

SWITCH_OFF = (
    "stop `run_huey` before this runs with --apply, or it begins some of the tasks too; then "
    "HUEY.flush()."
)
_CONNECTION = ("host", "port", "db", "username", "password", "unix_socket_path")
_PREFIX = 8


def read_huey(url: str | None) -> Findings:
    """What waits in the storage that settings.HUEY names. Raises Unmovable if that is none."""
    values = getattr(settings, "HUEY", None)
    if values is not None and not isinstance(values, dict):
        values = _values_of(values)
    values = dict(values or {})
    values.update(values.pop("connection", None) or {})
    name = str(values.get("name") or settings.DATABASES["default"]["NAME"])
    findings = Findings("huey", "", SWITCH_OFF)
    for number, data in enumerate(_messages(findings, name, values, url)):
        findings.add(f"{name}:{number}", partial(_read_message, data))
    findings.notes.append("Periodic tasks are in the code: contrib.huey makes schedules of them.")
    return findings


def _values_of(huey: Any) -> dict[str, Any]:
    """What an instance of Huey's says of its storage."""
    return {"name": huey.name, "utc": huey.utc, **huey.storage_kwargs}


def _messages(
    findings: Findings, name: str, values: Mapping[str, Any], url: str | None
) -> Iterator[bytes]:
    if values.get("filename") and not url:
        findings.place = f"file {values['filename']}"
        yield from _in_file(name, values["filename"])
        return
    options = {key: values.get(key) for key in _CONNECTION}
    redis = ForeignRedis.at(url or values.get("url"), **({} if url else options))
    findings.place = redis.place
    key = re.sub("[^A-Za-z0-9_]", "", name) if values.get("clean_name", True) else name
    queue = f"huey.redis.{key}"
    if redis.is_sorted(queue):
        # Before each message of a queue with priorities stands its time.
        yield from (item[_PREFIX:] for item in redis.items(queue))
    else:
        yield from reversed(redis.items(queue))
    yield from (item for item, _score in redis.scored(f"huey.schedule.{key}"))


def _in_file(name: str, filename: str) -> list[bytes]:
    with closing(sqlite3.connect(f"file:{filename}?mode=ro", uri=True)) as connection:
        waiting = connection.execute(
            "SELECT data FROM task WHERE queue = ? ORDER BY priority DESC, id", [name]
        )
        scheduled = connection.execute(
            "SELECT data FROM schedule WHERE queue = ? ORDER BY timestamp, id", [name]
        )
        return [bytes(row[0]) for row in (*waiting, *scheduled)]


def _read_message(data: bytes) -> Found:
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    elif data[:1] == b"\x78":
        data = zlib.decompress(data)
    message = read_pickle(data)
    if not hasattr(message, "on_complete"):
        raise Unmovable("it is no message of Huey 2.0 or later")
    if message.chord_config is not None:
        raise Unmovable("it is one of a chord, whose others may have run: let it run there")
    if message.on_error is not None:
        raise Unmovable("it has .error(), which has no equal: give the task on_failure")
    calls = list(_calls(message))
    first = calls[0]
    task = first.of_task.background_task.using(**first.changes())
    then = steps_of(calls)[1:]
    return Found(message.id, message.name, FoundCall(task, first.args, first.kwargs, then))


def _calls(message: Any) -> Iterator[HueySignature]:
    while message is not None:
        yield _call(message)
        message = message.on_complete


def _call(message: Any) -> HueySignature:
    try_to_discover()
    found = function_at(CURRENT.get(message.name, message.name))
    if not isinstance(found, HueyTask):
        raise Unmovable(f"{message.name} is no task of django_bgtasks.contrib.huey here")
    options = {"retries": message.retries, "retry_delay": message.retry_delay}
    options |= {"retry_backoff": message.retry_backoff, "priority": message.priority or None}
    options |= {"timeout": message.timeout}
    if message.eta is not None:
        options["eta"] = in_future(_aware(message.eta), timezone.now())
    if message.expires_resolved is not None:
        left = _aware(message.expires_resolved) - timezone.now()
        if left <= timedelta(0):
            raise Unmovable("it has expired")
        options["expires"] = left
    return HueySignature(found, message.args or (), message.kwargs or {}, options)


def _aware(moment: datetime) -> datetime:
    """A naive time of Huey's, which is in UTC."""
    return moment if timezone.is_aware(moment) else moment.replace(tzinfo=UTC)
