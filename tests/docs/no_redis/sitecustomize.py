"""Python loads this module first: whatever runs on this machine, nobody is at Redis's own port."""

from __future__ import annotations

import errno
import socket
from typing import Any

connect = socket.socket.connect


def connect_elsewhere(self: Any, address: Any) -> None:
    """As socket.connect(); the default port of Redis is closed."""
    if isinstance(address, tuple) and address[1] == 6379:
        raise ConnectionRefusedError(errno.ECONNREFUSED, "closed by the test")
    connect(self, address)


socket.socket.connect = connect_elsewhere  # type: ignore[method-assign]
