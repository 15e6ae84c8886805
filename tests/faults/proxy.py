"""A TCP proxy between a worker and its server, for the faults of a network.

It can refuse, cut, delay, fall silent with its connections open, and swallow the server's reply to
what the client sent: the COMMIT that went through and was never confirmed.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

Address = tuple[str, int] | str
CHUNK = 65536
RESET = struct.pack("ii", 1, 0)


@dataclass(slots=True, eq=False)
class _Pair:
    """A client, the server's side of its connection, and whether replies are swallowed."""

    client: socket.socket
    server: socket.socket
    deaf: bool = False
    ready: bool = False
    late: list[tuple[float, socket.socket, bytes]] = field(default_factory=list)

    def other(self, end: socket.socket) -> socket.socket:
        return self.server if end is self.client else self.client


class Proxy:
    """Listens on `host`, forwards to `target`: a (host, port) or the path of a Unix socket."""

    def __init__(self, target: Address, host: str = "127.0.0.1") -> None:
        self.target = target
        self.delay = 0.0
        self.swallowed = 0
        self._refusing = self._silent = self._stopped = False
        self._swallow: tuple[bytes, int] | None = None
        self._after, self._hold_back = b"", 0.0
        self._pairs: list[_Pair] = []
        self._lock = threading.RLock()
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server((host, 0))
        self.host, self.port = self._listener.getsockname()[:2]
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._loop, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopped = True
        self._thread.join(5)
        self.cut()
        self._listener.close()
        self._selector.close()

    def refuse(self, yes: bool = True) -> None:
        """Reset new connections, and cut those that are open."""
        self._refusing = yes
        if yes:
            self.cut()

    def cut(self) -> None:
        """Reset all open connections."""
        with self._lock:
            for pair in list(self._pairs):
                self._drop(pair)

    def silence(self, yes: bool = True) -> None:
        """Half-open: connections stay, new ones are taken, and nothing passes any more."""
        self._silent = yes

    def swallow_reply_to(
        self, text: bytes, times: int = 1, after: bytes = b"", late: float = 0.0
    ) -> None:
        """Let what holds `text` reach the server, and reset the connection instead of replying.

        after: only on connections on which this was sent before. late: the client's connection is
        reset at once, and the server gets the text so many seconds later. Such connections count
        in `swallowed`.
        """
        self._swallow, self._after, self._hold_back = (text, times), after, late

    def _loop(self) -> None:
        while not self._stopped:
            events = self._selector.select(0.0005 if self.delay else 0.02)
            with self._lock:
                for key, _ in events:
                    if key.fileobj is self._listener:
                        self._accept()
                    elif not self._silent and isinstance(key.data, _Pair):
                        self._forward(key.data, key.fileobj)  # type: ignore[arg-type]
                if not self._silent:
                    self._deliver()
            if self._silent:
                # What cannot be read stays readable: do not spin.
                time.sleep(0.02)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        if self._refusing:
            _reset(client)
            return
        try:
            server = _connect(self.target)
        except OSError:
            _reset(client)
            return
        pair = _Pair(client, server)
        self._pairs.append(pair)
        for end in (client, server):
            if end.family != socket.AF_UNIX:
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(end, selectors.EVENT_READ, pair)

    def _forward(self, pair: _Pair, source: socket.socket) -> None:
        if pair not in self._pairs:
            return
        try:
            data = source.recv(CHUNK)
        except OSError:
            data = b""
        if not data:
            self._drop(pair)
        elif source is pair.server and pair.deaf:
            # The server has done what it was asked: now its answer is lost.
            self.swallowed += 1
            self._drop(pair)
        else:
            if source is pair.client:
                self._listen_for(pair, data)
            if pair.deaf and source is pair.client and self._hold_back:
                self._hand_over_late(pair, data)
                return
            pair.late.append((time.monotonic() + self.delay, pair.other(source), data))

    def _listen_for(self, pair: _Pair, data: bytes) -> None:
        ready = pair.ready or not self._after
        pair.ready = pair.ready or (bool(self._after) and self._after in data)
        if self._swallow and self._swallow[0] in data and ready:
            text, times = self._swallow
            self._swallow = (text, times - 1) if times > 1 else None
            pair.deaf = True

    def _hand_over_late(self, pair: _Pair, data: bytes) -> None:
        """The client learns that its connection is gone before the server gets what it sent."""
        self.swallowed += 1
        server = pair.server.dup()
        self._drop(pair)

        def hand_over() -> None:
            with server, contextlib.suppress(OSError):
                server.sendall(data)
                # It does what it was asked before it looks whether somebody is there.
                server.recv(CHUNK)

        threading.Timer(self._hold_back, hand_over).start()

    def _deliver(self) -> None:
        now = time.monotonic()
        for pair in list(self._pairs):
            while pair.late and pair.late[0][0] <= now:
                _, target, data = pair.late.pop(0)
                try:
                    target.sendall(data)
                except OSError:
                    self._drop(pair)
                    break

    def _drop(self, pair: _Pair) -> None:
        if pair not in self._pairs:
            return
        self._pairs.remove(pair)
        for end in (pair.client, pair.server):
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(end)
        _reset(pair.client)
        pair.server.close()


def _connect(target: Address) -> socket.socket:
    if isinstance(target, str):
        server = socket.socket(socket.AF_UNIX)
        server.connect(target)
        return server
    return socket.create_connection(target, timeout=5)


def _reset(client: socket.socket) -> None:
    """Close with RST: the peer learns at once that the connection is gone."""
    with contextlib.suppress(OSError):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    client.close()
