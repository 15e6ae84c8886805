"""The site of the tests, with Sentry. SENTRY_FILE: where the events go that Sentry would get."""

import json
import os
from pathlib import Path

import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

from django_bgtasks.contrib.sentry import BgTasksIntegration
from tests.settings import *  # noqa: F403


class ToFile(Transport):
    """Keeps the events until it is told to flush, as a thread does that sends them."""

    def __init__(self, options: object = None) -> None:
        super().__init__()
        self.lines: list[str] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        event = envelope.get_event()
        if event is not None:
            self.lines.append(f"{json.dumps(event, default=str)}\n")

    def flush(self, timeout: float, callback: object = None) -> None:
        with Path(os.environ["SENTRY_FILE"]).open("a") as file:
            file.writelines(self.lines)
        self.lines.clear()


sentry_sdk.init(
    dsn="https://key@sentry.example.com/1", transport=ToFile, integrations=[BgTasksIntegration()]
)
