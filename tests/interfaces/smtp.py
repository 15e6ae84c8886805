"""A mail server that speaks just enough SMTP to accept a message or to refuse its recipients."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class MailServer(socketserver.ThreadingTCPServer):
    """Answers MAIL and RCPT as it is told, and keeps the messages it accepted."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, rcpt_answer: str, mail_answer: str) -> None:
        super().__init__(("127.0.0.1", 0), _Session)
        self.rcpt_answer, self.mail_answer = rcpt_answer, mail_answer
        self.senders = 0
        self.recipients: list[str] = []
        self.messages: list[bytes] = []

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.server_address[1])


@contextmanager
def mail_server(rcpt_answer: str = "250 OK", mail_answer: str = "250 OK") -> Iterator[MailServer]:
    """A mail server that runs in a thread."""
    with MailServer(rcpt_answer, mail_answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class _Session(socketserver.StreamRequestHandler):
    server: Any

    def handle(self) -> None:
        self._say("220 test")
        for line in self.rfile:
            verb = line.split()[0].upper() if line.split() else b""
            if verb == b"QUIT":
                self._say("221 bye")
                return
            self._answer(verb, line)

    def _answer(self, verb: bytes, line: bytes) -> None:
        if verb == b"MAIL":
            self.server.senders += 1
            self._say(self.server.mail_answer)
        elif verb == b"RCPT":
            self.server.recipients.append(line.decode().split("<")[1].split(">")[0])
            self._say(self.server.rcpt_answer)
        elif verb == b"DATA":
            self._say("354 go on")
            self.server.messages.append(b"".join(iter(self.rfile.readline, b".\r\n")))
            self._say("250 taken")
        else:
            self._say("250 OK")

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())
