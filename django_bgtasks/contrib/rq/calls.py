"""The options of a call as RQ has them, and what they are here."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core import mail

from ...core.errors import InvalidArguments
from ...core.options import backend_settings, default_backend
from ...core.retry import Retry
from ...core.states import State
from ...transport.rq_names import parse_timeout

# The task that calls functions which are none themselves.
FUNCTION_TASK = "django_bgtasks.contrib.rq.functions.call_function"
# What at_front means: before all that waits in the queue, in the order of the calls.
FRONT = 100
# RQ's -1, which is for ever.
ALWAYS = timedelta(days=36_500)
LONGEST_SECONDS = 10**7
# What RQ's enqueue() takes out of the arguments of a call.
CALL_OPTIONS = (
    *("job_timeout", "description", "result_ttl", "ttl", "failure_ttl", "depends_on", "job_id"),
    *("at_front", "meta", "retry", "repeat", "on_success", "on_failure", "on_stopped"),
    *("pipeline", "unique", "webhooks"),
)
_REFUSED = {
    "repeat": "repeat enqueued the job again when it had ended. Give the task a schedule here: "
    "@task(schedule=Every(minutes=10)), or set_schedule()",
    "on_stopped": "on_stopped was called when a running job was stopped. Here the task itself gets "
    "JobCancelled: write `except JobCancelled` in it",
    "webhooks": "webhooks were sent by RQ's worker. Send the request in on_success or on_failure",
    "pipeline": "a pipeline gathered commands to Redis. Here the jobs of a transaction are "
    "committed together: write `with transaction.atomic():`",
}


class RqDependency:
    """The jobs that a job waits for.

    jobs: one or several, or their ids. allow_failure: whether it runs also if one has failed.
    """

    def __init__(
        self, jobs: Any, allow_failure: bool = False, enqueue_at_front: bool = False
    ) -> None:
        self.dependencies = list(jobs) if isinstance(jobs, list | tuple) else [jobs]
        self.allow_failure, self.enqueue_at_front = allow_failure, enqueue_at_front
        if not self.dependencies:
            raise ValueError("jobs: cannot be empty.")


class NoConnection:
    """What stands where RQ's code passes a connection on; it has nothing that could be called."""

    def ping(self) -> bool:
        """True: what asks whether it can enqueue can."""
        return True

    def flushall(self, *_args: Any, **_options: Any) -> bool:
        """In a test, delete the jobs that do not run, as tests empty Redis by it."""
        from ...jobs.actions import delete_jobs
        from ...ledger.lifecycle import ledger_database
        from ...models import Job

        if not is_test():
            raise AttributeError("flushall() is for tests: it would delete all jobs.")
        rows = Job.objects.using(ledger_database()).exclude(state=State.RUNNING)
        delete_jobs(dict(rows.values_list("pk", "state")))
        return True

    flushdb = flushall

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"There is no connection to ask for {name!r}: the jobs are in the database. For a "
            f"Redis of your own use django_redis.get_redis_connection(). See docs/moving.md."
        )


def is_test() -> bool:
    """Whether a test runs: Django's test runner has set its environment up."""
    return hasattr(mail, "outbox")


def get_connection(*_args: Any, **_options: Any) -> NoConnection:
    """What code passes to Job.fetch() and the like, which need no connection here."""
    return NoConnection()


class DecoratedFunction:
    """What `@job` makes. options: those that the decorator was given."""

    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CallOptions:
    """What the options of a call come to.

    changes: for using(). extras: what the job needs when it runs: on_success, on_failure,
    depends_on, allow_failure and meta.
    """

    changes: dict[str, Any] = field(default_factory=dict)
    extras: dict[str, Any] = field(default_factory=dict)


def read_options(options: Mapping[str, Any], as_path: bool = True) -> CallOptions:
    """Read RQ's options of a call, or of a decorator.

    as_path: store callbacks by their dotted paths, as a call has to. Raises InvalidArguments for
    what means nothing here, or something else, with what to write.
    """
    for name, text in _REFUSED.items():
        if options.get(name):
            raise InvalidArguments(f"{text}. See docs/moving.md.")
    changes: dict[str, Any] = {}
    timeout = options.get("job_timeout") or options.get("timeout")
    if timeout:
        changes["timeout"] = timeout_seconds(timeout)
    if (ttl := options.get("ttl")) is not None:
        changes["expires"] = timedelta(seconds=ttl)
    if options.get("at_front"):
        changes["priority"] = FRONT
    if (retry := options.get("retry")) is not None:
        changes["retry"] = retry_policy(retry)
    if description := options.get("description"):
        changes["label"] = literal(description)
    changes |= _dedup(options)
    _check_kept("result_ttl", options.get("result_ttl"), "keep_succeeded_days")
    _check_kept("failure_ttl", options.get("failure_ttl"), "keep_failed_days")
    extras = {
        name: callback_path(name, function) if as_path else callback_function(function)
        for name in ("on_success", "on_failure")
        if (function := options.get(name)) is not None
    }
    if (depends_on := options.get("depends_on")) is not None:
        extras |= _dependencies(depends_on)
    if meta := options.get("meta"):
        extras["meta"] = dict(meta)
    return CallOptions(changes, extras)


def timeout_seconds(timeout: Any) -> float:
    """A timeout as RQ writes it, such as 30, "1h" or -1 for none, in seconds."""
    seconds = parse_timeout(timeout)
    return float(LONGEST_SECONDS if seconds is None or seconds < 0 else seconds)


def retry_policy(retry: Any) -> Retry:
    """The policy that RQ's Retry(max, interval) says: without jitter, after any exception."""
    if isinstance(retry, int):
        return Retry(max_attempts=retry + 1, delays=[0], jitter=0)
    if not hasattr(retry, "max") or not hasattr(retry, "intervals"):
        raise InvalidArguments(
            f"retry takes Retry(max=3, interval=[10, 60]), not {retry!r}. See docs/moving.md."
        )
    return Retry(max_attempts=retry.max + 1, delays=retry.intervals or [0], jitter=0)


def literal(text: str) -> str:
    """A text as a format string that gives it."""
    return str(text).replace("{", "{{").replace("}", "}}")


def callback_function(callback: Any) -> Any:
    """The function of a Callback, or the function itself."""
    return callback if callable(callback) or isinstance(callback, str) else callback.func


def callback_path(name: str, callback: Any) -> str:
    """The dotted path by which a worker finds a callback. Raises InvalidArguments if it cannot."""
    return function_path(callback_function(callback), name)


def function_path(function: Callable[..., Any] | str, what: str = "the function") -> str:
    """The dotted path of a function, or of a method in a class, at the top level of a module.

    Raises InvalidArguments for what no worker could import.
    """
    if isinstance(function, str):
        # RQ takes module:name, too.
        return function.replace(":", ".")
    owner = getattr(function, "__self__", None)
    if owner is None or inspect.ismodule(owner):
        name = getattr(function, "__qualname__", "")
    else:
        owner = owner if isinstance(owner, type) else type(owner)
        name = f"{owner.__qualname__}.{getattr(function, '__name__', '')}"
        function = owner
    module = getattr(function, "__module__", None) or ""
    if module == "__main__":
        raise ValueError("Functions from the __main__ module cannot be processed by workers")
    if not all(part.isidentifier() for part in name.split(".")):
        raise InvalidArguments(
            f"{what} must be at the top level of a module, or in a class there, so that a worker "
            f"can import it, and not {function!r}. See docs/moving.md."
        )
    return f"{module}.{name}"


def instance_of(function: Any) -> Any:
    """The object whose method this is; None for a function, and for a method of a class."""
    owner = getattr(function, "__self__", None)
    is_object = not (owner is None or isinstance(owner, type) or inspect.ismodule(owner))
    return owner if is_object else None


def _dedup(options: Mapping[str, Any]) -> dict[str, Any]:
    """A job's own id is its dedup key: a second call while it waits takes its place."""
    job_id = options.get("job_id")
    if options.get("unique") and not job_id:
        raise ValueError("unique=True requires an explicit job_id")
    if not job_id:
        return {}
    changes = {"dedup_key": literal(job_id), "dedup_scope": "queued", "on_duplicate": "replace"}
    if options.get("unique"):
        changes |= {"dedup_scope": "live", "on_duplicate": "raise"}
    return changes


def _dependencies(depends_on: Any) -> dict[str, Any]:
    jobs, allow_failure = depends_on, False
    if hasattr(depends_on, "dependencies"):
        jobs, allow_failure = depends_on.dependencies, depends_on.allow_failure
    several: Sequence[Any] = jobs if isinstance(jobs, list | tuple) else [jobs]
    ids = [str(getattr(job, "key_of_row", job)) for job in several if job]
    found: dict[str, Any] = {"depends_on": ids} if ids else {}
    return found | ({"allow_failure": True} if ids and allow_failure else {})


def _check_kept(name: str, ttl: Any, option: str) -> None:
    """Refuse that a row is to be there for longer than the site keeps it."""
    if ttl is None:
        return
    seconds = parse_timeout(ttl) or 0
    wish = ALWAYS if seconds < 0 else timedelta(seconds=seconds)
    kept_days = getattr(backend_settings(default_backend()).options, option)
    if wish > timedelta(days=kept_days):
        raise InvalidArguments(
            f"{name}={ttl!r} keeps a job for longer than the {kept_days:g} days of "
            f'OPTIONS["{option}"]. Raise that, and leave out {name}. See docs/moving.md.'
        )


def queue_settings(name: str) -> Mapping[str, Any]:
    """What settings.RQ_QUEUES, if it is still there, says of a queue.

    Raises KeyError for a queue that it does not have, as django-rq does.
    """
    queues = getattr(settings, "RQ_QUEUES", None)
    found: Mapping[str, Any] = {} if queues is None else queues[name]
    return found
