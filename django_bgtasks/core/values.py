"""The values of a task with types="django": stored with their types, and read as they left.

What JSON has is stored as it is; all else as a tag, see core/tags.py. A dict that has the key of
tags itself, or keys that are no strings, is a tag too, so nothing of the caller's is taken for one.
Enumerations and dataclasses are stored by their path. To read one imports its module and calls no
function of the class: not `__init__`, and nothing that `__reduce__` would name.
"""

from __future__ import annotations

import dataclasses
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, Flag
from functools import lru_cache
from importlib import import_module
from math import copysign, isfinite
from pathlib import PurePath
from typing import Any, NoReturn
from uuid import UUID

from django.utils.duration import duration_string
from django.utils.functional import LazyObject, Promise

from .errors import Unreadable
from .payload import EXACT, MAX_BYTES, MAX_DEPTH, NotJSON, Refused, json_copy, plain, to_json
from .tags import LAZY, PURE_PATHS, READERS, TAG, Placeholder, Tag

TYPED = "django"
Find = Callable[[str], Any]
Rows = Mapping[str, Any]


def typed_copy(value: Any, path: str, depth: int = 0) -> Any:
    """The value as JSON with tags, for json_value(). Raises NotJSON for a type that is not kept."""
    if depth > MAX_DEPTH:
        raise Refused(f"{path[:80]}… is nested too deep: at most {MAX_DEPTH} levels are kept.")
    if issubclass(type(value), LazyObject):
        value = _unwrapped(value)
    if type(value) in EXACT:
        return _float(value, path) if type(value) is float else json_copy(value, path, depth)
    if is_dataclass(value) and not isinstance(value, type | Enum):
        return _dataclass(value, path, depth)
    if is_reference(value):
        return _model(value, path)
    for kinds, write in WRITERS:
        if isinstance(value, kinds):
            return write(value, path, depth)
    raise NotJSON(
        f"Unsupported type: {type(value)} at {path} is none that types='django' keeps. Pass what "
        f"it is made of, or an id."
    )


def _unwrapped(value: Any) -> Any:
    """What a SimpleLazyObject, such as request.user, stands for."""
    while issubclass(type(value), LazyObject):
        # Asking for its class makes it real.
        value = value.__class__ and value._wrapped
    return value


def _tag(kind: str, value: Any, **more: Any) -> dict[str, Any]:
    return {TAG: kind, "value": value, **more}


def _float(value: Any, path: str) -> Any:
    number = plain(value)
    # The sign of a zero is lost in PostgreSQL.
    if isfinite(number) and (number or copysign(1.0, number) > 0):
        return number
    return _tag("float", repr(number))


def _enum(value: Any, path: str, depth: int) -> Any:
    cls, name = type(value), value._name_
    tag: dict[str, Any] = {TAG: "enum", "class": _path_of(cls, path)}
    if name in cls.__members__:
        tag["name"] = name
    elif not isinstance(value, Flag):
        raise Refused(f"{path} is a {cls.__name__}, and no member of that enumeration.")
    stored = plain(value._value_)
    if "name" not in tag or type(stored) in (str, int):
        tag["value"] = json_copy(stored, path, depth)
    return tag


def _dataclass(value: Any, path: str, depth: int) -> Any:
    cls: Any = type(value)
    if not _can_be_made(cls):
        raise NotJSON(
            f"Unsupported type: {cls} at {path} is a dataclass that is a "
            f"{cls.__mro__[-2].__name__} too, which types='django' does not keep."
        )
    names = [field.name for field in dataclasses.fields(value) if hasattr(value, field.name)]
    fields = {name: typed_copy(getattr(value, name), f"{path}.{name}", depth + 2) for name in names}
    return {TAG: "dataclass", "class": _path_of(cls, path), "value": fields}


@lru_cache(maxsize=256)
def _can_be_made(cls: type) -> bool:
    """Whether an instance can be made without its own code; not if it is a dict, too, say."""
    try:
        object.__new__(cls)
    except TypeError:
        return False
    return True


def is_reference(value: Any) -> bool:
    """Whether this is a model instance, of which a reference is stored."""
    return hasattr(value.__class__, "_meta") and hasattr(value, "_state")


def _model(value: Any, path: str) -> Any:
    meta, state = value._meta, value._state
    keys = [_key(field, value, path) for field in meta.pk_fields]
    if state.adding or None in keys:
        raise Refused(f"{path} is a {meta.label} without a row. Save it first.")
    if deferred := sorted(value.get_deferred_fields()):
        raise Refused(
            f"{path} is a {meta.label} of which {', '.join(deferred)} was not read, by only() or "
            f"defer(). It would arrive as a whole: pass its key, or read it as a whole."
        )
    key = keys[0] if len(keys) == 1 else keys
    return {TAG: "model", "model": meta.label_lower, "pk": key, "using": state.db}


def _key(field: Any, value: Any, path: str) -> Any:
    key = plain(field.value_from_object(value))
    stored = key if key is None or type(key) in (str, int) else field.value_to_string(value)
    return json_copy(stored, f"the key of {path}", 0)


def _lazy(value: Any, path: str, depth: int) -> Any:
    """A translation is stored untranslated; another lazy text as what it says now."""
    _rebuild, (func, *arguments) = value.__reduce__()
    name = getattr(func, "__name__", "")
    named: Mapping[str, Any] = next((one for one in arguments if isinstance(one, Mapping)), {})
    parts: list[Any] = []
    if "plural" in named:
        # Without "number" it is the number that a format will give, or its name there.
        words = [named[key] for key in ("context", "singular", "plural") if key in named]
        parts = [*words, named.get("number", arguments[1])]
    elif isinstance(arguments[0], tuple) and not named:
        parts = list(arguments[0])
    known = getattr(func, "__module__", "") == "django.utils.translation" and name in LAZY
    if not known or not parts or not all(type(part) in (str, int, type(None)) for part in parts):
        return json_copy(str(value), path, depth)
    return _tag("lazy", json_copy(parts, path, depth), call=name)


def _datetime(value: Any, path: str, depth: int) -> Any:
    return _tag("datetime", datetime.isoformat(value), **_zone(value))


def _time(value: Any, path: str, depth: int) -> Any:
    more = _zone(value)
    if value.tzinfo is not None and value.utcoffset() is None and "zone" not in more:
        raise Refused(f"{path} is a time in a zone without a name or a fixed offset.")
    return _tag("time", time.isoformat(value), **more)


def _zone(value: Any) -> dict[str, Any]:
    # `zone` is what pytz calls it.
    found = getattr(value.tzinfo, "key", None) or getattr(value.tzinfo, "zone", None)
    more = {"zone": found} if isinstance(found, str) else {}
    return {**more, "fold": 1} if value.fold else more


def _path(value: Any, path: str, depth: int) -> Any:
    text = json_copy(str(value), path, depth)
    pure = next((name for name, kind in PURE_PATHS.items() if type(value) is kind), None)
    return _tag("path", text) if pure is None else _tag("path", text, pure=pure)


def _bytes(value: Any, path: str, depth: int) -> Any:
    kind = "bytes" if isinstance(value, bytes) else "bytearray"
    return _tag(kind, b64encode(bytes(value)).decode())


def _items(value: Any, path: str, depth: int) -> list[Any]:
    return [typed_copy(item, f"{path}[{i}]", depth + 2) for i, item in enumerate(value)]


def _tuple(value: Any, path: str, depth: int) -> Any:
    cls = type(value)
    if cls is tuple or not hasattr(cls, "_fields"):
        return _tag("tuple", _items(value, path, depth))
    return {TAG: "namedtuple", "class": _path_of(cls, path), "value": _items(value, path, depth)}


def _set(value: Any, path: str, depth: int) -> Any:
    kind = "set" if isinstance(value, set) else "frozenset"
    # In the same order in each process: what is equal is stored alike.
    items = [typed_copy(item, f"an item of {path}", depth + 2) for item in value]
    return _tag(kind, sorted(items, key=to_json))


def _mapping(value: Any, path: str, depth: int) -> Any:
    named: dict[str, Any] = {}
    others: list[Any] = []
    for key, item in value.items():
        if isinstance(key, str) and not isinstance(key, Enum):
            text = json_copy(key, f"a key of {path}", depth)
            named[text] = typed_copy(item, f"{path}[{text!r}]", depth + 2)
        else:
            stored = typed_copy(key, f"a key of {path}", depth + 2)
            others.append([stored, typed_copy(item, f"{path}[{key!r}]", depth + 2)])
    if others:
        return _tag("dict", named, others=sorted(others, key=to_json))
    return _tag("dict", named) if TAG in named else named


def _sequence(value: Any, path: str, depth: int) -> Any:
    if len(value) > MAX_BYTES:
        raise Refused(f"{path} is too large: it has {len(value)} items.")
    return [typed_copy(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)]


def _scalar(kind: str, write: Callable[[Any], str]) -> Callable[[Any, str, int], Any]:
    return lambda value, path, depth: _tag(kind, write(value))


# The first that fits counts: a member of an enumeration may be a text, a datetime is a date.
WRITERS: list[tuple[Any, Callable[[Any, str, int], Any]]] = [
    (Enum, _enum),
    # A row has it as it is: it stands for what a step will get.
    (Placeholder, lambda value, path, depth: dict(value)),
    (Promise, _lazy),
    (str | int, json_copy),
    (float, lambda value, path, depth: _float(value, path)),
    (datetime, _datetime),
    (date, _scalar("date", date.isoformat)),
    (time, _time),
    (timedelta, _scalar("timedelta", duration_string)),
    (Decimal, _scalar("decimal", Decimal.__str__)),
    (UUID, _scalar("uuid", UUID.__str__)),
    (PurePath, _path),
    (bytes | bytearray, _bytes),
    (tuple, _tuple),
    (set | frozenset, _set),
    (Mapping, _mapping),
    (Sequence, _sequence),
]


# How json_value() copies what a job keeps, by the job's types; JSON as it is where nothing is said.
COPIED_BY: dict[str, Callable[[Any, str, int], Any]] = {TYPED: typed_copy}


def _path_of(cls: type, path: str) -> str:
    """Where a class is found again, as `module:Class.Inner`; refused where it is not there."""
    where, why = f"{cls.__module__}:{cls.__qualname__}", ""
    if "<locals>" in cls.__qualname__:
        why = "which is defined within a function"
    elif cls.__module__ == "__main__":
        why = "which is defined in the script that runs, and a worker runs another one"
    elif _member(sys.modules.get(cls.__module__), cls.__qualname__) is not cls:
        why = "which is not what its module has under this name"
    if why:
        raise Refused(f"{path} is of {where}, {why}. Define it at the top level of a module.")
    return where


def _member(module: Any, names: str) -> Any:
    """What a module has under a dotted name; None if nothing. No code runs, as a __getattr__."""
    found = module
    for name in names.split("."):
        found = getattr(found, "__dict__", {}).get(name)
    return found


def imported_class(path: str) -> Any:
    """What is at a path such as `shop.models:Order.Status`; its module is imported for that."""
    module, _, names = path.partition(":")
    try:
        return _member(import_module(module), names)
    except (Exception, SystemExit) as error:
        raise Unreadable.of("value_unreadable", why=f"{path}: {error}") from error


def loaded_class(path: str) -> Any:
    """imported_class() that imports nothing: for what a person has typed."""
    module, _, names = path.partition(":")
    return _member(sys.modules.get(module), names)


def references_in(value: Any) -> Iterator[Tag]:
    """The tags of model instances in a typed value."""
    if isinstance(value, list):
        for item in value:
            yield from references_in(item)
    elif isinstance(value, dict):
        kind = value.get(TAG)
        inner: Any = value.get("value")
        if kind == "model":
            yield value
            return
        # The keys of these are the caller's, or names of fields: it is no tag itself.
        is_open = kind in ("dict", "dataclass") and isinstance(inner, dict)
        parts = [*inner.values(), value.get("others", [])] if is_open else value.values()
        for part in parts:
            yield from references_in(part)


def typed_value(value: Any, rows: Rows, find: Find = imported_class) -> Any:
    """The value that typed_copy() has stored. rows: the model instances, each by its reference.

    find: the class at a path. Raises Unreadable for what is not readable here, or is no tag.
    """
    try:
        return _Reader(rows, find).read(value)
    except (AttributeError, LookupError, TypeError, ValueError, ArithmeticError) as error:
        _refuse(f"{type(error).__name__}: {error}")


def _refuse(why: str) -> NoReturn:
    raise Unreadable.of("value_unreadable", why=why)


@dataclasses.dataclass(frozen=True, slots=True)
class _Reader:
    rows: Rows
    find: Find

    def read(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self.read(item) for item in value]
        if not isinstance(value, dict):
            return value
        if TAG not in value:
            return self.items(value)
        kind = value[TAG]
        if kind in READERS:
            return READERS[kind](value)
        if kind in CONTAINERS:
            return CONTAINERS[kind](self.read(value["value"]))
        read = OF_CLASSES.get(kind)
        if read is None:
            _refuse(f"{kind!r} is no type that this release knows")
        return read(self, value)

    def items(self, value: Tag) -> dict[Any, Any]:
        return {key: self.read(item) for key, item in value.items()}

    def mapping(self, tag: Tag) -> dict[Any, Any]:
        others = {self.read(key): self.read(item) for key, item in tag.get("others", ())}
        return {**self.items(tag["value"]), **others}

    def model(self, tag: Tag) -> Any:
        return self.rows[to_json(tag)]

    def cls(self, tag: Tag, is_one: Callable[[Any], bool]) -> Any:
        found = self.find(tag["class"])
        if not (isinstance(found, type) and is_one(found)):
            _refuse(f"there is no such {tag[TAG]} as {tag['class']}")
        return found

    def enum(self, tag: Tag) -> Any:
        cls = self.cls(tag, lambda found: issubclass(found, Enum))
        members: Mapping[str, Any] = cls.__members__
        if "name" not in tag:
            return cls(tag["value"])
        if tag["name"] in members:
            return members[tag["name"]]
        # It may have another name by now.
        same = [one for one in cls if "value" in tag and plain(one.value) == tag["value"]]
        return same[0] if same else _refuse(f"{tag['class']} has no member {tag['name']}")

    def dataclass(self, tag: Tag) -> Any:
        cls, values = self.cls(tag, is_dataclass), self.items(tag["value"])
        instance, fields = object.__new__(cls), {one.name: one for one in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - set(fields)):
            _refuse(f"{tag['class']} has no field {', '.join(unknown)} here")
        for name, field in fields.items():
            if name in values:
                object.__setattr__(instance, name, values[name])
            elif field.default is not MISSING:
                object.__setattr__(instance, name, field.default)
            elif field.default_factory is not MISSING:
                object.__setattr__(instance, name, field.default_factory())
            elif field.init:
                _refuse(f"{tag['class']} has a field {name} here that was not stored")
        return instance

    def namedtuple(self, tag: Tag) -> Any:
        is_one = lambda found: issubclass(found, tuple) and hasattr(found, "_fields")  # noqa: E731
        cls, values = self.cls(tag, is_one), self.read(tag["value"])
        if len(values) != len(cls._fields):
            _refuse(f"{tag['class']} has {len(cls._fields)} fields here, not {len(values)}")
        return tuple.__new__(cls, values)


CONTAINERS: dict[str, Callable[[Any], Any]] = {"set": set, "frozenset": frozenset, "tuple": tuple}
OF_CLASSES: dict[str, Callable[[_Reader, Tag], Any]] = {
    "dataclass": _Reader.dataclass,
    "dict": _Reader.mapping,
    "enum": _Reader.enum,
    "model": _Reader.model,
    "namedtuple": _Reader.namedtuple,
}
