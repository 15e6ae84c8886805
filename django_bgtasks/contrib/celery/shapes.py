"""Arguments and results as Celery's JSON has them: lists for tuples, and keys that are texts.

Dates, decimals, UUIDs and whatever else a row can have arrive as they left.
"""

from __future__ import annotations

from typing import Any

from ...core.errors import InvalidArguments
from ...core.payload import json_value
from ...core.tags import Placeholder
from ...core.values import typed_copy
from .conf import configured

PLAIN = (type(None), bool, int, float, str)
NAMES = {True: "true", False: "false", None: "null"}


def as_sent_by(task: Any, value: Any, setting: str = "task_serializer") -> Any:
    """What Celery's serializer makes of arguments or of a result; pickle leaves them as they are.

    setting: "task_serializer", or "result_serializer".
    """
    serializer = task.serializer if setting == "task_serializer" else None
    return value if (serializer or configured(setting)) == "pickle" else json_shaped(value)


def json_shaped(value: Any) -> Any:
    """The value with lists for tuples, and texts for keys."""
    if isinstance(value, (*PLAIN, Placeholder)):
        return value
    if isinstance(value, dict):
        return {_key(key): json_shaped(each) for key, each in value.items()}
    return [json_shaped(each) for each in value] if isinstance(value, list | tuple) else value


def _key(key: Any) -> Any:
    if isinstance(key, bool) or key is None:
        return NAMES[key]
    return str(key) if isinstance(key, int | float) else key


def result_of_task(task: Any, value: Any, is_awaited: bool) -> Any:
    """What is stored of a result; None for what cannot be, if nobody keeps those of the task.

    is_awaited: a step of a workflow follows, which gets it.
    """
    value = as_sent_by(task, value, "result_serializer")
    is_kept = is_awaited or not (task.ignore_result or configured("result_backend") is None)
    if is_kept or isinstance(value, PLAIN):
        return value
    try:
        json_value(value, "the result", task.name, copied_by=typed_copy)
    except (TypeError, ValueError, InvalidArguments):
        return None
    return value
