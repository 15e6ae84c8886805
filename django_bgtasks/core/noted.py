"""A context manager of the site's, whose own exceptions say where they are from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any


class Noted(AbstractContextManager[Any], AbstractAsyncContextManager[Any]):
    """The same context manager; what it raises itself has a note, which a traceback shows."""

    def __init__(self, manager: Any, note: str) -> None:
        self._manager, self._note = manager, note

    def __enter__(self) -> Any:
        with self._noting():
            return self._manager.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> Any:
        with self._noting(error):
            return self._manager.__exit__(kind, error, trace)

    async def __aenter__(self) -> Any:
        with self._noting():
            return await self._manager.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> Any:
        with self._noting(error):
            return await self._manager.__aexit__(kind, error, trace)

    @contextmanager
    def _noting(self, passing: BaseException | None = None) -> Iterator[None]:
        """Note what is raised here. passing: the block's own error, which only goes through."""
        try:
            yield
        except BaseException as raised:
            if raised is not passing:
                raised.add_note(self._note)
            raise
