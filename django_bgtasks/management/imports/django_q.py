"""The schedules and waiting tasks of django-q2, read by their rows, and from its Redis."""

from __future__ import annotations

import ast
import zlib
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any

from django.conf import settings
from django.core import signing
from django.utils import timezone

from ...core.timing import Cron, Every, Timing
from ...transport.foreign import ForeignRedis
from .findings import Findings, Found, Unmovable, call_at, in_future, refuse_values
from .pickles import NamedObject, read_pickle
from .rows import aware, table_names, table_rows

SCHEDULES, WAITING = "django_q_schedule", "django_q_ormq"
SWITCH_OFF = (
    "stop `qcluster` before this runs with --apply, or it begins some of the tasks too; then "
    "delete its schedules, and what waits in its broker."
)
_OPTIONS = ("hook", "group", "chain", "cached", "iter_count", "iter_cached")


def read_django_q(database: str, url: str | None) -> Findings:
    """The rows of this database, and the list in Redis where Q_CLUSTER names one.

    Raises Unmovable if there is neither.
    """
    if SCHEDULES not in table_names(database):
        raise Unmovable(f"The database {database!r} has no table {SCHEDULES}.")
    findings = Findings("django-q", f"database {database}", SWITCH_OFF)
    for row in table_rows(database, SCHEDULES):
        name = row.get("name") or f"{row['func']}:{row['id']}"
        findings.add(name, partial(_read_schedule, row, name))
    packages = [(f"ormq:{row['id']}", row["payload"]) for row in table_rows(database, WAITING)]
    for name, package in [*packages, *_in_redis(findings, url)]:
        findings.add(name, partial(_read_package, name, package))
    return findings


def _cluster() -> Mapping[str, Any]:
    found: Mapping[str, Any] = getattr(settings, "Q_CLUSTER", {})
    return found


def _in_redis(findings: Findings, url: str | None) -> list[tuple[str, str]]:
    configured = _cluster().get("redis")
    if not (url or configured):
        return []
    if url or isinstance(configured, str):
        redis = ForeignRedis.at(url or configured)
    else:
        redis = ForeignRedis.at(**dict(configured or {}))
    findings.place += f", {redis.place}"
    name = _cluster().get("cluster_name", _cluster().get("name", "default"))
    items = redis.items(f"django_q:{name}:q")
    return [(f"{name}:{number}", item.decode()) for number, item in enumerate(items)]


def _read_package(name: str, package: str) -> Found:
    task = _unsigned(package)
    for option in _OPTIONS:
        if task.get(option):
            raise Unmovable(
                f"it has {option}=, which has no equal in one job: on_failure is an option of "
                f"@task, and a chain or a group is a workflow"
            )
    func = task["func"]
    path = func.path if isinstance(func, NamedObject) else str(func)
    queue, timeout = task.get("cluster") or "default", task.get("timeout")
    call = call_at(path, task["args"], task["kwargs"], queue_name=queue, timeout=timeout)
    return Found(task.get("id") or name, path, call)


def _unsigned(package: str) -> Mapping[str, Any]:
    """What is in a package, whose signature and salt are those of django-q."""
    salt = _cluster().get("name", "default")
    try:
        signer = signing.TimestampSigner(key=settings.SECRET_KEY, salt=salt)
        text = signer.unsign(package)
    except signing.BadSignature as error:
        raise Unmovable("its signature is not that of SECRET_KEY and Q_CLUSTER['name']") from error
    data = signing.b64_decode(text.removeprefix(".").encode())
    found: Mapping[str, Any] = read_pickle(zlib.decompress(data) if text[:1] == "." else data)
    return found


def _read_schedule(row: Mapping[str, Any], name: str) -> Found:
    repeats = row["repeats"]
    refuse_values(
        hook="its hook gets the result. Give the task on_failure, or enqueue the hook in it"
        if row.get("hook")
        else "",
        repeats=f"it ends after {repeats} more runs. Set it with set_schedule(), and let the task "
        f"call remove_schedule()"
        if repeats > 0 and row["schedule_type"] != "O"
        else "",
        ended="it has no further run" if repeats == 0 else "",
        intended_date_kwarg="write takes_context=True, and context.tick in the task"
        if row.get("intended_date_kwarg")
        else "",
    )
    moment = aware(row["next_run"]) if row.get("next_run") else None
    changes: dict[str, Any] = {"queue_name": row.get("cluster") or "default"}
    timing = None
    if row["schedule_type"] == "O":
        if moment is None:
            raise Unmovable("it is for one time, and names none")
        changes["run_after"] = in_future(moment, timezone.now())
    else:
        timing = _timing(row, moment)
    call = call_at(row["func"], _args_in(row.get("args")), _kwargs_in(row.get("kwargs")), **changes)
    return Found(name, row["func"], call, timing)


def _timing(row: Mapping[str, Any], moment: datetime | None) -> Timing:
    kind = row["schedule_type"]
    if kind == "C":
        return Cron(row["cron"], overlap="allow")
    if kind == "I":
        return Every(minutes=row.get("minutes") or 1, overlap="allow")
    if kind not in _CRONS:
        raise Unmovable(
            "it runs every two weeks: give the task schedule=Every(weeks=2), which counts from now"
        )
    if moment is None:
        raise Unmovable("it has no next run, from which its time of day is known")
    local = timezone.localtime(moment)
    if kind in "MBMQY" and local.day > 28:
        raise Unmovable(
            f"it is for day {local.day} of a month, which not all months have. Give the task "
            f'schedule=Cron("0 0 L * *") for the last day, say'
        )
    return Cron(f"{local.minute} {_CRONS[kind](local)}", overlap="allow")


def _months(local: datetime, step: int) -> str:
    return ",".join(
        map(str, sorted((local.month - 1 + step * n) % 12 + 1 for n in range(12 // step)))
    )


# Behind the minute, what the next run says of all.
_CRONS: Mapping[str, Callable[[datetime], str]] = {
    "H": lambda _: "* * * *",
    "D": lambda local: f"{local.hour} * * *",
    "W": lambda local: f"{local.hour} * * {local.isoweekday() % 7}",
    "M": lambda local: f"{local.hour} {local.day} * *",
    "BM": lambda local: f"{local.hour} {local.day} {_months(local, 2)} *",
    "Q": lambda local: f"{local.hour} {local.day} {_months(local, 3)} *",
    "Y": lambda local: f"{local.hour} {local.day} {local.month} *",
}


def _args_in(text: str | None) -> tuple[Any, ...]:
    """The arguments in a text such as `1, 2, 'John'`."""
    if not text:
        return ()
    value = ast.literal_eval(text)
    return value if isinstance(value, tuple) else (value,)


def _kwargs_in(text: str | None) -> dict[str, Any]:
    """The keyword arguments in a text such as `x=1, name='John'`, or of a dict."""
    if not text:
        return {}
    if text.lstrip().startswith("{"):
        return dict(ast.literal_eval(text))
    call: Any = ast.parse(f"call({text})", mode="eval").body
    return {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
