"""The shape of workflows: steps, which are calls for later, in chains and groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from .errors import InvalidArguments
from .tags import Placeholder, placeholder_in


class GateOn(StrEnum):
    """Which end of its gate lets a blocked job begin."""

    # The next step: if the gate has succeeded.
    NEXT = "next"
    # Callbacks of a batch: if it has succeeded, when it first fails, and when it has ended.
    SUCCESS = "success"
    FAILURE = "failure"
    END = "end"


# Those that cannot begin any more when the gate has ended without success.
ON_SUCCESS = frozenset({GateOn.NEXT, GateOn.SUCCESS})
CALLBACKS = frozenset({GateOn.SUCCESS, GateOn.FAILURE, GateOn.END})


@dataclass(frozen=True, slots=True)
class Step:
    """A call of a task as a part of a workflow; made by `task.step()`."""

    task: Any
    args: Sequence[Any]
    kwargs: Mapping[str, Any]


def refuse_lookalikes(path: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Refuse an argument that a row would have as RESULT has it, and RESULT within another one.

    Raises InvalidArguments.
    """
    for value in (*args, *kwargs.values()):
        if isinstance(value, Placeholder):
            continue
        if placeholder_in(value):
            raise InvalidArguments(
                f"{path}: an argument of a step cannot be {value!r}: a row has RESULT and RESULTS "
                f"so. Put it into a list or another dict."
            )
        if isinstance(value, dict | list | tuple) and _has_placeholder(value):
            raise InvalidArguments(
                f"{path}: RESULT and RESULTS are arguments by themselves, and not within a list or "
                f"a dict: {value!r}."
            )


def refuse_unmet(path: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Refuse RESULT in the arguments of a step that waits for none. Raises InvalidArguments."""
    if any(isinstance(value, Placeholder) for value in (*args, *kwargs.values())):
        raise InvalidArguments(
            f"{path}: this step has RESULT or RESULTS among its arguments, and no step comes "
            f"before it. Put one before it in a chain."
        )


def _has_placeholder(value: Any) -> bool:
    if isinstance(value, Placeholder):
        return True
    parts = value.values() if isinstance(value, dict) else value
    return isinstance(value, dict | list | tuple) and any(map(_has_placeholder, parts))


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowOptions:
    """What a chain or a group has besides its elements.

    name: by which its jobs find it. on_success, on_failure, on_complete: steps that follow when it
    has succeeded, when its first job fails, and when it has ended in whatever way. dedup_key, owner
    and about are those of a whole workflow. priority, queue_name, expires: of all its steps.
    """

    name: str = ""
    on_success: Step | None = None
    on_failure: Step | None = None
    on_complete: Step | None = None
    dedup_key: str | None = None
    owner: Any = None
    about: Any = None
    priority: int | None = None
    queue_name: str | None = None
    expires: Any = None

    @property
    def callbacks(self) -> list[tuple[GateOn, Step]]:
        """Its callbacks, each with the end of the batch that it is for."""
        ends = {
            GateOn.SUCCESS: self.on_success,
            GateOn.FAILURE: self.on_failure,
            GateOn.END: self.on_complete,
        }
        return [(end, step) for end, step in ends.items() if step is not None]

    @property
    def of_steps(self) -> dict[str, Any]:
        """What it says of all its steps."""
        values = {
            "priority": self.priority,
            "queue_name": self.queue_name,
            "expires": self.expires,
        }
        return {name: value for name, value in values.items() if value is not None}


NO_OPTIONS = FlowOptions()
# What only a whole workflow has, and no part of one.
OF_WORKFLOWS = ("dedup_key", "owner", "about")


@dataclass(frozen=True, slots=True)
class Flow:
    """A chain or a group: steps, and further chains and groups. kind: "chain" or "group"."""

    kind: str
    elements: tuple[Step | Flow, ...]
    options: FlowOptions = NO_OPTIONS
