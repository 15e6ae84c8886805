"""By which name a backend of this site's ledger goes in Redis."""

from __future__ import annotations

from functools import cache
from typing import Any
from urllib.parse import quote
from uuid import UUID

from django.core.signals import setting_changed

from ..core.options import default_backend
from ..ledger.identity import ledger_id, short
from .names import Namespace


def namespace_of(backend: str, using: str) -> Namespace:
    """The names of this backend. using: the database of its ledger. Raises DatabaseError."""
    return _namespace(ledger_id(using), backend)


@cache
def _namespace(ledger: UUID, backend: str) -> Namespace:
    name = short(ledger)
    if backend == default_backend():
        return Namespace(name, name)
    return Namespace(name, f"{name}.{quote(backend, safe='')}")


def _forget(*, setting: str, **kwargs: Any) -> None:
    if setting == "TASKS":
        _namespace.cache_clear()


setting_changed.connect(_forget, dispatch_uid="django_bgtasks.namespace")
