"""What modules take from `celery.result`."""

from __future__ import annotations

from typing import Any

from .group_result import GroupResult, ResultSet, batch_result
from .request import may_wait
from .single_result import AsyncResult, EagerResult, ResultBase

__all__ = [
    "AsyncResult",
    "EagerResult",
    "GroupResult",
    "ResultBase",
    "ResultSet",
    "allow_join_result",
    "batch_result",
    "result_from_tuple",
]


def result_from_tuple(value: Any, app: Any = None) -> Any:
    """The result of what as_tuple() gave."""
    (result_id, parent), _children = value
    return AsyncResult(result_id, parent=parent and result_from_tuple(parent))


class allow_join_result:  # noqa: N801 - Celery's name
    """Within it a task may wait for another one. It uses up a worker meanwhile."""

    def __enter__(self) -> None:
        """From now on."""
        self._token = may_wait.set(True)

    def __exit__(self, *exc_info: object) -> None:
        """As before."""
        may_wait.reset(self._token)
