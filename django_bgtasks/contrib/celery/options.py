"""What Celery's tasks and calls may be given: what works, what changes nothing, what is refused.

A test compares these sets with the signatures of Celery itself.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from ...jobs.task import OF_THE_DEFINITION, BackgroundTask
from .errors import refuse_call, refuse_task

# Of a definition: what does here what it does there.
TASK_WORKS = {
    *("name", "base", "bind", "run", "max_retries", "default_retry_delay", "autoretry_for"),
    *("dont_autoretry_for", "retry_backoff", "retry_backoff_max", "retry_jitter", "retry_kwargs"),
    *("soft_time_limit", "time_limit", "acks_late", "reject_on_worker_lost", "priority", "queue"),
    "rate_limit",
    *("retry_on_worker_lost", "throws", "expires", "typing", "abstract", "app", "request_stack"),
    *("before_start", "on_success", "on_retry", "on_failure", "after_return", "on_bound"),
    *("shadow_name", "MaxRetriesExceededError", "OperationalError", "request", "backend"),
}
# What is always so here, or is about messages, brokers and result stores that are not there.
TASK_ACCEPTED = {
    *("ignore_result", "store_errors_even_if_ignored", "store_eager_result", "track_started"),
    *("serializer", "compression", "send_events", "trail", "resultrepr_maxsize"),
    *("from_config", "lazy", "shared", "filter", "delivery_mode", "annotations"),
    *("acks_on_failure_or_timeout", "acks_on_failure", "acks_on_timeout", "on_replace"),
    *("pydantic_context", "pydantic_strict", "pydantic_dump_kwargs"),
}
TASK_REFUSED = {
    "exchange": "there are no exchanges: name a queue.",
    "exchange_type": "there are no exchanges: name a queue.",
    "routing_key": "there are no exchanges: name a queue.",
    "Request": "there is no request of a worker's to subclass: use the hooks of the task.",
    "Strategy": "there is no strategy of a worker's: use the hooks of the task.",
    "retry": "write autoretry_for, max_retries and the like.",
    "timeout": "write time_limit.",
    "queue_name": "write queue.",
    "expected": "write throws.",
    "takes_context": "write bind=True; current_job() of django_bgtasks gives the context.",
    "pydantic": "models of pydantic are not made here: call Model.model_validate() in the task.",
}
# Of a call.
CALL_WORKS = {
    *("args", "kwargs", "countdown", "eta", "expires", "queue", "priority", "headers", "task_id"),
    *("link", "link_error", "shadow", "time_limit", "soft_time_limit", "retries"),
}
CALL_ACCEPTED = {
    *("producer", "publisher", "connection", "retry", "retry_policy", "serializer", "compression"),
    *("add_to_parent", "ignore_result", "delivery_mode", "mandatory", "immediate", "reply_to"),
    *("router", "result_cls", "task_type", "route_name", "root_id", "parent_id", "timeout"),
    *("confirm_timeout", "declare", "content_type", "content_encoding", "origin"),
}
CALL_REFUSED = {
    "exchange": "there are no exchanges: name a queue.",
    "routing_key": "there are no exchanges: name a queue.",
    "chord": "a chord is made by chord(header)(body).",
    "chain": "a chain is made by chain(…) or with |.",
    "group_id": "a group is made by group(…).",
    "group_index": "a group is made by group(…).",
    "replaced_task_nesting": "a task is not replaced here: let it add to its group.",
    "stamped_headers": "there are no stamps: use headers.",
}
# Our own options, which a moved task may have too.
NOT_OWN = {
    *("func", "takes_context", "retry", "timeout", "queue_name", "run_after", "expected", "batch"),
}
OWN = set(BackgroundTask.__dataclass_fields__) - TASK_WORKS - NOT_OWN
OWN_OF_A_CALL = OWN - OF_THE_DEFINITION


def check_definition(name: str, options: Mapping[str, Any]) -> None:
    """Refuse options of a task that mean something else here, or are misspelt."""
    for option, text in TASK_REFUSED.items():
        if options.get(option):
            raise refuse_task(name, text)
    for option in ("acks_on_failure_or_timeout", "acks_on_failure"):
        if options.get(option) is False:
            text = f"{option}=False sends a failed task again. Write autoretry_for=(Exception,)."
            raise refuse_task(name, text)
    known = TASK_WORKS | TASK_ACCEPTED | OWN
    for option in set(options) - known:
        close = difflib.get_close_matches(option, known, n=1, cutoff=0.8)
        if close:
            raise refuse_task(name, f"no option {option!r}. Did you mean {close[0]!r}?")


def check_call_options(name: str, options: Mapping[str, Any]) -> None:
    """Refuse options of a call that mean something else here, or that nobody knows."""
    for option, value in options.items():
        if option in CALL_REFUSED and value:
            same = option == "routing_key" and value == options.get("queue")
            if not same and not (option == "exchange" and value == options.get("queue")):
                raise refuse_call(name, CALL_REFUSED[option])
        elif option not in CALL_WORKS | CALL_ACCEPTED | OWN_OF_A_CALL | set(CALL_REFUSED):
            raise refuse_call(name, f"no option {option!r}: {_hint(option, CALL_WORKS)}.")


def _hint(option: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(option, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(sorted(known))}"
