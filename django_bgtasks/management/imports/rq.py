"""The waiting jobs of django-rq and the schedules of rq-scheduler, read from Redis."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from django.conf import settings
from django.utils import timezone

from ...contrib.rq.queue import RqQueue
from ...core.timing import Cron, Every, Timing
from ...transport.foreign import ForeignRedis
from ...transport.rq_names import Callback, Retry
from .findings import Findings, Found, FoundCall, Unmovable, call_at, function_at, in_future
from .pickles import read_data

SCHEDULED = "rq:scheduler:scheduled_jobs"
JOBS_OFF = (
    "stop `rqworker` before this runs with --apply, or it begins some of the jobs too; then clear "
    "its queues with queue.empty()."
)
SCHEDULES_OFF = "stop rqscheduler before this runs with --apply; then delete rq:scheduler:*."
# The queues of this package stand in the same Redis: a ledger, and what of it.
_OF_LEDGERS = re.compile(r"[0-9a-f]{8}(\.[^:]+)?:.*")
_REGISTRIES = ("failed", "wip")


def redis_of_queues(url: str | None) -> list[ForeignRedis]:
    """Where RQ's queues are: at this URL, or where settings.RQ_QUEUES says."""
    if url:
        return [ForeignRedis.at(url)]
    queues = getattr(settings, "RQ_QUEUES", None)
    if not queues:
        raise Unmovable("Where is RQ's Redis? Name it with --redis-url, or keep RQ_QUEUES.")
    found: dict[str, ForeignRedis] = {}
    for values in queues.values():
        redis = _redis_at(values)
        found.setdefault(redis.place, redis)
    return list(found.values())


def _redis_at(values: Mapping[str, Any]) -> ForeignRedis:
    if "URL" in values:
        return ForeignRedis.at(values["URL"], db=values.get("DB"))
    if "USE_REDIS_CACHE" in values:
        return ForeignRedis.of_cache(values["USE_REDIS_CACHE"])
    if "UNIX_SOCKET_PATH" in values:
        return ForeignRedis.at(unix_socket_path=values["UNIX_SOCKET_PATH"], db=values.get("DB"))
    if "SENTINELS" in values:
        raise Unmovable("RQ_QUEUES names sentinels. Name the master with --redis-url.")
    names = ("HOST", "PORT", "DB", "USERNAME", "PASSWORD")
    return ForeignRedis.at(**{name.lower(): values.get(name) for name in names})


def read_rq(url: str | None) -> list[Findings]:
    """The jobs that wait in RQ's queues, in its own scheduler, and for others."""
    found = []
    for redis in redis_of_queues(url):
        findings = Findings("django-rq", redis.place, JOBS_OFF)
        for queue in redis.members("rq:queues"):
            name = queue.removeprefix("rq:queue:")
            if not _OF_LEDGERS.fullmatch(name):
                _read_queue(findings, redis, name)
        found.append(findings)
    return found


def _read_queue(findings: Findings, redis: ForeignRedis, name: str) -> None:
    for job_id, moment in _waiting(redis, name):
        findings.add(job_id, partial(_read_job, redis, job_id, name, moment))
    for registry in _REGISTRIES:
        if count := redis.count(f"rq:{registry}:{name}"):
            what = "have failed" if registry == "failed" else "run or ran"
            findings.notes.append(f"{count} jobs of {name} {what}: they are left there.")


def _waiting(redis: ForeignRedis, name: str) -> Iterator[tuple[str, datetime | None]]:
    for item in redis.items(f"rq:queue:{name}"):
        yield item.decode(), None
    for item, score in redis.scored(f"rq:scheduled:{name}"):
        yield item.decode(), datetime.fromtimestamp(score, UTC)
    # Behind those that they wait for.
    for item, _score in redis.scored(f"rq:deferred:{name}"):
        yield item.decode(), None


def read_rq_scheduler(url: str | None) -> list[Findings]:
    """The schedules and the single jobs of rq-scheduler."""
    found = []
    for redis in redis_of_queues(url):
        findings = Findings("rq-scheduler", redis.place, SCHEDULES_OFF)
        for item, score in redis.scored(SCHEDULED):
            job_id, moment = item.decode(), datetime.fromtimestamp(score, UTC)
            findings.add(job_id, partial(_read_scheduled, redis, job_id, moment))
        found.append(findings)
    return found


def _read_scheduled(redis: ForeignRedis, job_id: str, moment: datetime) -> Found:
    fields = _fields_of(redis, job_id)
    meta: Mapping[str, Any] = read_data(fields["meta"]) if fields.get("meta") else {}
    if meta.get("interval") is None and not meta.get("cron_string"):
        return _read_job(redis, job_id, _text(fields, "origin") or "default", moment)
    if meta.get("repeat") is not None:
        raise Unmovable(
            f"it ends after {meta['repeat']} more runs. Schedules have no number of runs here: set "
            f"it with set_schedule(), and let the task call remove_schedule()"
        )
    path, args, kwargs = _call_in(fields)
    function_at(path)
    changes = {"queue_name": _text(fields, "origin") or "default", "timeout": _timeout(fields)}
    call = call_at(path, args, kwargs, **changes)
    timing: Timing
    if meta.get("cron_string"):
        timing = Cron(meta["cron_string"], zone=_zone(meta["cron_string"], moment), overlap="allow")
    else:
        timing = Every(seconds=meta["interval"], overlap="allow")
    return Found(f"{path}:{job_id}"[:200], path, call, timing)


def _zone(expression: str, moment: datetime) -> str | None:
    """In which zone the scheduler counts: that in which its next run is a time of the schedule.

    It takes the time of its process, which is not Django's if `rqscheduler` runs it.
    """
    for zone in (settings.TIME_ZONE, "UTC"):
        rule = Cron(expression, zone=zone).rule(moment)
        if rule.next_after(moment - timedelta(microseconds=1)) == moment:
            return zone
    raise Unmovable(
        f"{expression!r} is no time of {settings.TIME_ZONE} and none of UTC: it counts in another "
        f"zone. Give the task schedule=Cron({expression!r}, zone=...)"
    )


def _read_job(redis: ForeignRedis, job_id: str, queue: str, moment: datetime | None) -> Found:
    fields = _fields_of(redis, job_id)
    if fields.get("repeats_left"):
        raise Unmovable("rq.Repeat has no equal: give the task a schedule")
    path, args, kwargs = _call_in(fields)
    target = function_at(path)
    options = {name: value for name, value in _options_of(fields, job_id).items() if value}
    run_after = None if moment is None else in_future(moment, timezone.now())
    call = RqQueue(queue).call_with(target, args, dict(kwargs), options, run_after)
    return Found(job_id, path, FoundCall(*call))


def _fields_of(redis: ForeignRedis, job_id: str) -> Mapping[str, bytes]:
    fields = redis.fields(f"rq:job:{job_id}")
    if not fields.get("data"):
        raise Unmovable("its data is not in Redis any more")
    return fields


def _call_in(fields: Mapping[str, bytes]) -> tuple[str, Sequence[Any], dict[str, Any]]:
    try:
        data = zlib.decompress(fields["data"])
    except zlib.error:
        # As RQ reads it, too.
        data = fields["data"]
    path, instance, args, kwargs = read_data(data)
    if instance is not None:
        raise Unmovable(f"it is the method {path} of an object: write a function that takes its id")
    return str(path).replace(":", "."), args or (), dict(kwargs or {})


def _options_of(fields: Mapping[str, bytes], job_id: str) -> dict[str, Any]:
    """RQ's options, as enqueue() takes them. The id stays what it was: the site may have it."""
    dependencies = json.loads(fields.get("dependency_ids") or b"[]")
    retries = int(fields.get("retries_left") or 0)
    intervals = json.loads(fields.get("retry_intervals") or b"[0]")
    callbacks = {
        f"on_{name}": Callback(function_at(text))
        for name in ("success", "failure")
        if (text := _text(fields, f"{name}_callback_name"))
    }
    return {
        **callbacks,
        "job_id": job_id,
        "job_timeout": _timeout(fields),
        "description": _text(fields, "description"),
        "at_front": _text(fields, "enqueue_at_front") == "1",
        "retry": Retry(max=retries, interval=intervals) if retries else None,
        "meta": read_data(fields["meta"]) if fields.get("meta") else None,
        "depends_on": dependencies or None,
        "ttl": int(fields["ttl"]) if fields.get("ttl") else None,
        "on_stopped": _text(fields, "stopped_callback_name"),
    }


def _timeout(fields: Mapping[str, bytes]) -> int | None:
    text = _text(fields, "timeout")
    return int(text) if text and text != "None" and int(text) > 0 else None


def _text(fields: Mapping[str, bytes], name: str) -> str:
    return fields.get(name, b"").decode()
