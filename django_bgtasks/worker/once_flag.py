"""An outage that several processes notice, and one of them tells."""

from __future__ import annotations

import os


class OnceFlag:
    """Who notices first tells. Made before the fork.

    A token lies in one of two pipes, for all is well or for an outage. Who takes it out of the one
    puts it into the other, and is the only one to have done so.
    """

    def __init__(self) -> None:
        self._well, self._out = os.pipe(), os.pipe()
        for reader, _ in (self._well, self._out):
            os.set_blocking(reader, False)
        os.write(self._well[1], b"!")

    def begins(self) -> bool:
        """Whether this process is the first to notice the outage."""
        return _moved(self._well, self._out)

    def ends(self) -> bool:
        """Whether there was one, and this process is the first to notice its end."""
        return _moved(self._out, self._well)


def _moved(source: tuple[int, int], target: tuple[int, int]) -> bool:
    try:
        token = os.read(source[0], 1)
    except BlockingIOError:
        return False
    os.write(target[1], token)
    return True
