"""From a call to its dedup key, and from the key to the slot that holds it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from .aliases import oldest_path
from .labels import key_from

# In the place of a task's path, for the keys of workflows.
OF_BATCHES = "batch"
DedupKey = str | Callable[..., str | None] | None


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
    return key_from("dedup key", task.dedup_key, task, args, kwargs)


def slot_of(task_path: str, key: str) -> str:
    """What the unique column holds: SHA-256 of the task, by its oldest path, and the key."""
    return hashlib.sha256(f"{oldest_path(task_path)}\0{key}".encode()).hexdigest()
