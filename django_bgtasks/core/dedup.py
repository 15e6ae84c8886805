"""From a call to its dedup key, and from the key to the slot that holds it."""

from __future__ import annotations

import hashlib
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.utils import translation
from django.utils.functional import Promise

from .errors import InvalidArguments
from .options import backend_settings
from .payload import bind, json_value, plain, to_json
from .tags import simplified
from .values import TYPED, is_reference, typed_copy

DedupKey = str | Callable[..., str | None] | None
MAX_KEY = 255


@dataclass(frozen=True, slots=True)
class Dedup:
    """The dedup key of one call, as its row keeps it. `scope` is live, queued or window."""

    key: str
    slot: str
    scope: str
    window: timedelta | None = None


def dedup_of(task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Dedup | None:
    """The dedup key of this call of the task, or None where the call has none."""
    key = key_of(task, args, kwargs)
    if key is None:
        return None
    slot = slot_of(task.module_path, key)
    if isinstance(task.dedup_scope, timedelta):
        return Dedup(key, slot, "window", task.dedup_scope)
    return Dedup(key, slot, task.dedup_scope)


def key_of(task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
    """Format the task's key over the arguments of the call, or ask its callable."""
    if task.dedup_key is None:
        return None
    if callable(task.dedup_key):
        key = task.dedup_key(*args, **kwargs)
    else:
        key = _format(task, bind(task, args, kwargs))
    if key is not None and not isinstance(key, str):
        raise InvalidArguments(
            f"The dedup_key of {task.module_path} must give a string or None, not {type(key)}."
        )
    if key is not None and len(key) > MAX_KEY:
        raise InvalidArguments(
            f"The dedup key of {task.module_path} is {len(key)} characters long; at most {MAX_KEY} "
            f"are kept. Use a hash of it."
        )
    return json_value(key, "the key", f"The dedup key of {task.module_path}") if key else None


def slot_of(task_path: str, key: str) -> str:
    """What the unique column holds: SHA-256 of the task and the key."""
    return hashlib.sha256(f"{task_path}\0{key}".encode()).hexdigest()


class _KeyFormatter(string.Formatter):
    """str.format without private attributes: a key is made of the call's values only.

    typed: whether the task has types="django".
    """

    def __init__(self, typed: bool) -> None:
        self._as_stored = _as_stored if typed else plain

    def get_field(self, field_name: str, args: Any, kwargs: Any) -> Any:
        if "._" in field_name or "[_" in field_name:
            raise KeyError(field_name)
        return super().get_field(field_name, args, kwargs)

    def format_field(self, value: Any, format_spec: str) -> str:
        """A member of an enumeration is the text or number that will be stored, such as "red"."""
        return str(super().format_field(self._as_stored(value), format_spec))

    def convert_field(self, value: Any, conversion: Any) -> Any:
        return super().convert_field(self._as_stored(value), conversion)


def _as_stored(value: Any) -> Any:
    """What stands for the value in a key: the same in each process, and in each language."""
    if isinstance(value, set | frozenset) or is_reference(value):
        return to_json(simplified(typed_copy(value, "the key")))
    if isinstance(value, Promise):
        with translation.override(None):
            return str(value)
    return plain(value)


def _format(task: Any, arguments: Mapping[str, Any]) -> str:
    types = getattr(task, "types", "") or backend_settings(task.backend).options.types
    try:
        return _KeyFormatter(types == TYPED).vformat(task.dedup_key, (), arguments)
    except (LookupError, AttributeError, TypeError, ValueError) as error:
        raise InvalidArguments(
            f"The dedup_key {task.dedup_key!r} of {task.module_path} cannot be made: {error}. "
            f"It may name these arguments: {', '.join(arguments) or 'none'}; "
            f"write {{{{ and }}}} for literal braces."
        ) from None
