"""Pickles of other queues, of which only plain values are read: no code can be named by one."""

from __future__ import annotations

import enum
import io
import json
import pickle
import sys
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.db.models import Model

from .findings import Unmovable

# Of each module, what makes a value and does nothing else.
VALUES = {
    "builtins": {"set", "frozenset", "bytearray", "complex", "range", "slice"},
    "collections": {"OrderedDict", "deque"},
    "datetime": {"date", "datetime", "time", "timedelta", "timezone"},
    "decimal": {"Decimal"},
    "django.utils.safestring": {"SafeString"},
    "django.db.models.base": {"ModelState", "model_unpickle"},
    "fractions": {"Fraction"},
    "pathlib": {"Path", "PosixPath", "PurePosixPath"},
    "uuid": {"UUID", "SafeUUID"},
    "zoneinfo": {"ZoneInfo", "ZoneInfo._unpickle"},
    "copyreg": {"_reconstructor"},
    "_codecs": {"encode"},
}


class HueyMessage(NamedTuple):
    """Huey's message, which is pickled by its class."""

    id: Any
    name: Any
    eta: Any = None
    retries: Any = None
    retry_delay: Any = None
    priority: Any = None
    args: Any = None
    kwargs: Any = None
    on_complete: Any = None
    on_error: Any = None
    expires: Any = None
    expires_resolved: Any = None
    timeout: Any = None
    chord_config: Any = None
    retry_backoff: Any = None


@dataclass(frozen=True, slots=True)
class NamedObject:
    """A class or function that a pickle names, in its place: it cannot be called."""

    module: str
    name: str

    @property
    def path(self) -> str:
        """Its dotted path."""
        return f"{self.module}.{self.name}"


class _ValuesOnly(pickle.Unpickler):
    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        self.unknown: list[NamedObject] = []

    def find_class(self, module: str, name: str) -> Any:
        if name in VALUES.get(module, ()):
            return super().find_class(module, name)
        if (module, name) == ("huey.registry", "Message"):
            return HueyMessage
        # Of the site's own classes those that are loaded, so that nothing is imported by a pickle.
        found = getattr(sys.modules.get(module), name, None)
        if isinstance(found, type) and issubclass(found, Model | enum.Enum):
            return found
        self.unknown.append(NamedObject(module, name))
        return self.unknown[-1]


def read_pickle(data: bytes) -> Any:
    """The value in a pickle; in the place of functions are NamedObjects.

    Raises Unmovable if it is no pickle, or holds more than values.
    """
    unpickler = _ValuesOnly(data)
    try:
        return unpickler.load()
    except Exception as error:
        if unpickler.unknown:
            raise Unmovable(
                f"its data holds a {unpickler.unknown[0].path}, and a pickle is read for plain "
                f"values and model instances only. Let it run there, or enqueue it anew."
            ) from error
        raise Unmovable(f"its data cannot be read: {type(error).__name__}: {error}") from error


def read_data(data: bytes) -> Any:
    """The value in a pickle, or in JSON, which other serializers write."""
    if data[:1] in (b"[", b"{"):
        try:
            return json.loads(data)
        except ValueError as error:
            raise Unmovable(f"its data cannot be read: {error}") from error
    return read_pickle(data)
