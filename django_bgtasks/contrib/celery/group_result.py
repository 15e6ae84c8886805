"""The results of groups and chains, as Celery gives them; batches of the ledger stand for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ...core import clock
from . import states
from .single_result import AsyncResult, Callback, ResultBase


class ResultSet(ResultBase):
    """Several results."""

    def __init__(self, results: Sequence[Any] = (), **kwargs: Any) -> None:
        self.results = list(results)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def __getitem__(self, index: Any) -> Any:
        return self.results[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ResultSet) and other.results == self.results

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: [{', '.join(each.id for each in self.results)}]>"

    def add(self, result: Any) -> None:
        """Add a result, once."""
        if result not in self.results:
            self.results.append(result)

    def successful(self) -> bool:
        """Whether all have succeeded."""
        return all(each.successful() for each in self.results)

    def failed(self) -> bool:
        """Whether one has failed."""
        return any(each.failed() for each in self.results)

    def waiting(self) -> bool:
        """Whether one has not ended."""
        return not self.ready()

    def ready(self) -> bool:
        """Whether all have ended."""
        return all(each.ready() for each in self.results)

    def completed_count(self) -> int:
        """How many have succeeded."""
        return sum(bool(each.successful()) for each in self.results)

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        callback: Callback = None,
        **kwargs: Any,
    ) -> list[Any]:
        """Wait for all, and return what they returned, in their order. See AsyncResult.get()."""
        until = None if timeout is None else clock.monotonic() + timeout
        values = []
        for each in self.results:
            left = None if until is None else max(0.0, until - clock.monotonic())
            value = each.get(timeout=left, propagate=propagate)
            if callback is not None:
                callback(each.id, value)
            else:
                values.append(value)
        return values

    join = join_native = get

    def maybe_throw(self, propagate: bool = True, callback: Callback = None) -> None:
        """Raise the exception of the first that has failed."""
        for each in self.results:
            each.maybe_throw(propagate=propagate, callback=callback)

    def revoke(self, connection: Any = None, terminate: bool = False, **kwargs: Any) -> None:
        """Revoke all; see AsyncResult.revoke()."""
        for each in self.results:
            each.revoke(terminate=terminate)

    def forget(self) -> None:
        """See AsyncResult.forget()."""

    @property
    def state(self) -> str:
        """SUCCESS when all have succeeded, FAILURE when one has failed, PENDING before."""
        if not self.ready():
            return states.PENDING
        return states.SUCCESS if self.successful() else states.FAILURE

    status = state

    @property
    def children(self) -> list[Any]:
        """The results."""
        return self.results


class GroupResult(ResultSet):
    """The results of a group. Its id is that of a batch, by which it is found again."""

    def __init__(
        self,
        id: Any = None,  # noqa: A002
        results: Sequence[Any] = (),
        parent: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(results)
        self.id, self.parent = str(id), parent

    def __bool__(self) -> bool:
        return True

    def __hash__(self) -> int:
        return hash(self.id)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, str):
            return other == self.id
        return isinstance(other, GroupResult) and other.id == self.id

    def __reduce__(self) -> Any:
        return GroupResult, (self.id, self.results, self.parent)

    def save(self, backend: Any = None) -> None:
        """Nothing: it is stored since it was enqueued."""

    def delete(self, backend: Any = None) -> None:
        """Nothing: it goes with its jobs."""

    def revoke(self, connection: Any = None, terminate: bool = False, **kwargs: Any) -> None:
        """Cancel what has not begun; terminate: also what runs."""
        from .reading import cancel_group

        if not (terminate and cancel_group(self.id)):
            super().revoke(terminate=terminate)

    @classmethod
    def restore(cls, id: Any, backend: Any = None, app: Any = None) -> GroupResult | None:  # noqa: A002
        """The group of this id; None if there is none."""
        from .reading import find_batch

        batch = find_batch(id)
        return None if batch is None else group_result(batch)


def group_result(batch: Any, parent: Any = None) -> GroupResult:
    """The result of a group, with those of its elements."""
    return GroupResult(batch.pk, _elements(batch), parent)


def batch_result(batch: Any) -> Any:
    """Of a group its results; of a chain that of its last element, with the others before it."""
    from .reading import is_group

    if is_group(batch):
        return group_result(batch)
    last: Any = None
    for each in _elements(batch):
        first = each
        while first.parent is not None:
            first = first.parent
        first.parent, last = last, each
    return last


def _elements(batch: Any) -> list[Any]:
    from .reading import elements_of_batch

    found = elements_of_batch(batch)
    return [AsyncResult(pk) if part is None else batch_result(part) for pk, part in found]
