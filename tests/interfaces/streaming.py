"""The settings of a site under ASGI that compresses its answers, and a proxy that buffers them."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests import settings as base

globals().update({name: getattr(base, name) for name in dir(base) if name.isupper()})
MIDDLEWARE = ["django.middleware.gzip.GZipMiddleware", *base.MIDDLEWARE]
BLOCK = 64 * 1024


class Proxy(ThreadingHTTPServer):
    """Hands requests on, and holds the answers back until they end, as nginx does by default.

    It does not where the answer says so; it compresses texts that may be transformed.
    """

    daemon_threads = True

    def __init__(self, site: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.site = site


@contextmanager
def proxy_of(site: int) -> Iterator[int]:
    """The port of a proxy before the site at a port."""
    with Proxy(site) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: Any

    def do_GET(self) -> None:
        connection = HTTPConnection("127.0.0.1", self.server.site, timeout=60)
        connection.request("GET", self.path, headers=dict(self.headers))
        answer = connection.getresponse()
        streams = answer.headers["X-Accel-Buffering"] == "no"
        compresses = self._compresses(answer)
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                self.send_header(name, value)
        if compresses:
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        packed = gzip.GzipFile(fileobj=self.wfile, mode="wb") if compresses else self.wfile
        pieces = iter(lambda: answer.read1(BLOCK), b"")
        for piece in pieces if streams else [b"".join(pieces)]:
            packed.write(piece)
        packed.close()
        connection.close()

    def _compresses(self, answer: HTTPResponse) -> bool:
        accepts = "gzip" in self.headers.get("Accept-Encoding", "")
        may = "no-transform" not in answer.headers.get("Cache-Control", "")
        return accepts and may and "Content-Encoding" not in answer.headers

    def log_message(self, *args: Any) -> None:
        """Quiet."""
