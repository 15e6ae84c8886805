"""The names in Redis of the ledger of the current test."""

from __future__ import annotations

from django_bgtasks.transport.messages import Namespace, namespace_of


def namespace(backend: str = "default") -> Namespace:
    """The names of a backend of this site."""
    return namespace_of(backend, "default")


def waiting_in(rq_queue: str) -> str:
    """The Redis list of an RQ queue of this site, such as `emails-p50`."""
    return namespace().list_key(rq_queue)
