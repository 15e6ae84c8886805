"""A context manager of the site's, whose own exceptions say where they are from."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AbstractContextManager
from types import TracebackType
from typing import Any


class Noted(AbstractContextManager[Any], AbstractAsyncContextManager[Any]):
    """The same context manager; what it raises itself has a note, which a traceback shows."""

    def __init__(self, manager: Any, note: str) -> None:
        self._manager, self._note = manager, note

    def __enter__(self) -> Any:
        try:
            return self._manager.__enter__()
        except BaseException as raised:
            raised.add_note(self._note)
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> Any:
        try:
            return self._manager.__exit__(kind, error, trace)
        except BaseException as raised:
            if raised is not error:
                raised.add_note(self._note)
            raise

    async def __aenter__(self) -> Any:
        try:
            return await self._manager.__aenter__()
        except BaseException as raised:
            raised.add_note(self._note)
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> Any:
        try:
            return await self._manager.__aexit__(kind, error, trace)
        except BaseException as raised:
            if raised is not error:
                raised.add_note(self._note)
            raise
