"""What a call was asked for, as one hash: equal for equal values, in every process and for ever.

Each value is written as JSON with its kind. Nothing here depends on an address, on `hash()`, on the
order of a set or a dict, or on the language of the reader.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Mapping, Set
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from functools import partial
from pathlib import PurePath
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db.models import Model
from django.utils import translation
from django.utils.functional import Promise

from ..core.errors import InvalidArguments
from ..core.payload import plain

EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - without a zone as the times compared with it
TICK = timedelta(microseconds=1)


def fingerprint_of(**parts: Any) -> str:
    """SHA-256 of values, each of which an error calls by its name here, such as `args`.

    Raises InvalidArguments for what has no value that could be compared with that of another
    process, such as an open file.
    """
    try:
        found = {name: _canonical(value, name) for name, value in parts.items()}
        text = json.dumps(found, separators=(",", ":"))
    except RecursionError:
        names = ", ".join(parts)
        raise InvalidArguments(f"once: {names} is nested too deep, or holds itself.") from None
    return hashlib.sha256(text.encode()).hexdigest()


def _canonical(value: Any, path: str) -> Any:
    """The value as JSON. A text stands for itself, all else is a list that begins with its kind."""
    if value is None or isinstance(value, bool):
        return None if value is None else bool(value)
    if is_dataclass(value) and not isinstance(value, type | Enum):
        return _fields(value, path)
    for kinds, write in WRITERS:
        if isinstance(value, kinds):
            return write(value, path)
    raise InvalidArguments(
        f"once: {path} is a {_name_of(value)}: a later call could not be compared with it. Pass "
        f"what stands for it, such as an id or a string, or give a function without arguments: "
        f"once(key, lambda: func(value))."
    )


def _decimal(value: Any, path: str) -> Any:
    """Equal for equal amounts: what was Decimal("20") is read from a row as Decimal("20.00")."""
    if not value.is_finite():
        return ["decimal", str(value)]
    sign, digits, exponent = value.as_tuple()
    text = "".join(map(str, digits)).lstrip("0")
    shorter = text.rstrip("0")
    if not shorter:
        return ["decimal", "0"]
    return ["decimal", f"{'-' * sign}{shorter}e{exponent + len(text) - len(shorter)}"]


def _moment(value: Any, path: str) -> Any:
    """An aware time is the instant, whatever its zone; a naive one is what it says."""
    offset, wall = value.utcoffset(), value.replace(tzinfo=None)
    if offset is None:
        return ["naive datetime", (wall - EPOCH) // TICK]
    return ["datetime", (wall - EPOCH - offset) // TICK]


def _time(value: Any, path: str) -> Any:
    zone = None if value.tzinfo is None else _canonical(value.tzinfo, f"{path}.tzinfo")
    return ["time", value.replace(tzinfo=None).isoformat(), zone]


def _enum(value: Any, path: str) -> Any:
    """A member that is a text or a number, too, is that: so it reaches a task."""
    if isinstance(value, str | int | float):
        return _canonical(plain(value), path)
    return ["enum", _name_of(value), value.name]


def _model(value: Any, path: str) -> Any:
    meta = value._meta.concrete_model._meta
    if value.pk is None:
        raise InvalidArguments(f"once: {path} is a {meta.label} without a key. Save it first.")
    return ["model", meta.label_lower, _canonical(value.pk, f"{path}.pk")]


def _mapping(value: Any, path: str) -> Any:
    # A QueryDict would give the last value of each key only.
    items = dict.items(value) if issubclass(type(value), dict) else value.items()
    pairs = [[_canonical(k, f"a key of {path}"), _canonical(v, f"{path}[{k!r}]")] for k, v in items]
    return ["dict", sorted(pairs, key=json.dumps)]


def _set(value: Any, path: str) -> Any:
    items = (_canonical(item, f"an item of {path}") for item in value)
    return ["set", sorted(items, key=json.dumps)]


def _list(value: Any, path: str) -> Any:
    return ["list", *(_canonical(item, f"{path}[{i}]") for i, item in enumerate(value))]


def _fields(value: Any, path: str) -> Any:
    """The fields of a dataclass that it compares itself."""
    found = [field.name for field in fields(value) if field.compare]
    values = [[name, _canonical(getattr(value, name), f"{path}.{name}")] for name in found]
    return ["dataclass", _name_of(value), *values]


def _partial(value: Any, path: str) -> Any:
    parts = [value.func, list(value.args), value.keywords]
    return ["partial", *(_canonical(part, path) for part in parts)]


def _method(value: Any, path: str) -> Any:
    return ["method", _canonical(value.__self__, f"{path}.__self__"), value.__name__]


def _function(value: Any, path: str) -> Any:
    """By its path, with what it is bound to: `"a".join` is not `"b".join`."""
    bound = getattr(value, "__self__", None)
    if bound is None or isinstance(bound, type) or hasattr(bound, "__spec__"):
        return ["function", _path_of(value, path)]
    return _method(value, path)


def _path_of(value: Any, path: str) -> str:
    """The dotted path of a function or a class."""
    if "<" in value.__qualname__:
        # A lambda, or what a function has made: others may have the same name.
        raise InvalidArguments(
            f"once: {path} is {value.__qualname__}, which has no path by which a later call could "
            f"know it. Define it at the top level of a module."
        )
    return f"{value.__module__}.{value.__qualname__}"


def _name_of(value: Any) -> str:
    """The dotted path of the class of a value."""
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _zone(value: Any, path: str) -> Any:
    if value.key is None:
        raise InvalidArguments(f"once: {path} is a time zone without a name.")
    return ["zone", value.key]


def _words(value: Any, path: str) -> Any:
    """A lazy text counts as it is written in the code, not in the language of whoever calls."""
    with translation.override(None):
        return str(value)


def _of(kind: str, write: Callable[[Any], Any]) -> Callable[[Any, str], Any]:
    return lambda value, path: [kind, write(value)]


# The first that fits counts: a member of an enumeration may be a text, a datetime is a date.
WRITERS: list[tuple[Any, Callable[[Any, str], Any]]] = [
    (Enum, _enum),
    (Promise, _words),
    (str, lambda value, path: str(plain(value))),
    # Python refuses to write an integer of many digits as a decimal.
    (int, _of("int", lambda value: hex(plain(value)))),
    # By the value: 0.0 and -0.0 are equal.
    (float, _of("float", lambda value: repr(plain(value) + 0.0))),
    (Decimal, _decimal),
    (Model, _model),
    (type, lambda value, path: ["class", _path_of(value, path)]),
    (datetime, _moment),
    (date, _of("date", date.isoformat)),
    (time, _time),
    (timedelta, _of("timedelta", lambda value: value // TICK)),
    (ZoneInfo, _zone),
    (timezone, _of("offset", lambda value: value.utcoffset(None) // TICK)),
    (UUID, _of("uuid", lambda value: value.hex)),
    (bytes | bytearray | memoryview, _of("bytes", lambda value: bytes(value).hex())),
    (complex, _of("complex", lambda value: [repr(value.real + 0.0), repr(value.imag + 0.0)])),
    (Fraction, _of("fraction", lambda value: [hex(value.numerator), hex(value.denominator)])),
    (range, _of("range", lambda value: [hex(value.start), hex(value.stop), hex(value.step)])),
    (PurePath, _of("path", lambda value: value.as_posix())),
    (Mapping, _mapping),
    (Set, _set),
    (list | tuple | deque, _list),
    (partial, _partial),
    (MethodType, _method),
    (FunctionType | BuiltinFunctionType, _function),
]
