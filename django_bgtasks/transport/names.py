"""The names in Redis. All of ours carry the ledger that they belong to, so that two sites, staging
and production, or plain RQ may use one Redis database and never meet.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import quote
from uuid import UUID

from django.core.signals import setting_changed

from ..core.options import default_backend
from ..ledger.identity import ledger_id, short

QUEUES_KEY = "rq:queues"
QUEUE_PREFIX = "rq:queue:"
SUSPENDED_KEY = "rq:suspended"
# The ledgers that have used this Redis database, by the time at which they were last heard of.
LEDGERS_KEY = "bgtasks:ledgers"
_PRIORITY = re.compile(r"(?P<queue>.+)-(?P<sign>[pm])(?P<size>\d{1,3})", re.DOTALL)


def rq_queue_name(queue: str, priority: int) -> str:
    """Each priority in use is an RQ queue of its own: `emails`, `emails-p50`, `emails-m10`.

    A queue whose own name looks so gets its priority behind it in any case: `emails-p50-p0`.
    """
    if not priority and not _PRIORITY.fullmatch(queue):
        return queue
    return f"{queue}-{'m' if priority < 0 else 'p'}{abs(priority)}"


def place_of(rq_queue: str) -> tuple[str, int]:
    """The (queue, priority) of a name that rq_queue_name() has made."""
    match = _PRIORITY.fullmatch(rq_queue)
    if match is None:
        return rq_queue, 0
    size = int(match["size"])
    return match["queue"], -size if match["sign"] == "m" else size


@dataclass(frozen=True, slots=True)
class Namespace:
    """The names in Redis of one backend of one ledger.

    ledger: its short name, `1a2b3c4d`. name: the same, or `1a2b3c4d.archive` for another backend
    than the default one. Everywhere else an RQ queue is called by what follows it: `emails-p50`.
    """

    ledger: str
    name: str

    def rq_queue(self, rq_queue: str) -> str:
        """The name that RQ knows: `1a2b3c4d:emails-p50`."""
        return f"{self.name}:{rq_queue}"

    def list_key(self, rq_queue: str) -> str:
        """The Redis list of an RQ queue."""
        return f"{QUEUE_PREFIX}{self.name}:{rq_queue}"

    def own(self, name: str) -> str | None:
        """What follows our name in a name that RQ knows; None if it is somebody else's."""
        start = f"{self.name}:"
        return name.removeprefix(start) if name.startswith(start) else None

    def is_of_ledger(self, name: str) -> bool:
        """Whether a name belongs to this ledger, whatever the backend."""
        return name == self.ledger or name.startswith((f"{self.ledger}:", f"{self.ledger}."))

    def worker(self, process: str) -> str:
        """The name of an RQ worker."""
        return f"{self.name}:{process}"

    def key(self, what: str) -> str:
        """A key that RQ does not know."""
        return f"bgtasks:{self.name}:{what}"

    @property
    def marker_key(self) -> str:
        """A wiped Redis has lost this key; workers then send all queued jobs again."""
        return marker_key(self.name)


def marker_key(name: str) -> str:
    """The same of another ledger."""
    return f"bgtasks:{name}:alive"


def namespace_of(backend: str, using: str) -> Namespace:
    """The names of this backend. using: the database of its ledger. Raises DatabaseError."""
    return _namespace_of(ledger_id(using), backend)


@cache
def _namespace_of(ledger: UUID, backend: str) -> Namespace:
    name = short(ledger)
    if backend == default_backend():
        return Namespace(name, name)
    return Namespace(name, f"{name}.{quote(backend, safe='')}")


def _forget(*, setting: str, **kwargs: Any) -> None:
    if setting == "TASKS":
        _namespace_of.cache_clear()


setting_changed.connect(_forget, dispatch_uid="django_bgtasks.names")
