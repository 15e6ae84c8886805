"""How a row has a value that JSON does not have: as an object that names its type, which is a tag.

`{"$type": "date", "value": "2026-11-28"}`. core/values.py makes tags and reads them; here is what
needs no class of the site.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.utils.dateparse import parse_duration
from django.utils.translation import gettext_lazy, ngettext_lazy, npgettext_lazy, pgettext_lazy

TAG = "$type"
Tag = Mapping[str, Any]
# What a tag has beside its value, which is no secret.
DESCRIPTIVE = frozenset({TAG, "call", "class", "fold", "model", "pure", "using", "zone"})
PURE_PATHS: dict[str, type[PurePath]] = {"posix": PurePosixPath, "windows": PureWindowsPath}
LAZY: dict[str, Callable[..., Any]] = {
    "gettext": gettext_lazy,
    "ngettext": ngettext_lazy,
    "pgettext": pgettext_lazy,
    "npgettext": npgettext_lazy,
}


def is_tag(value: Any) -> bool:
    """Whether this part of a stored value looks like a tag: those of untyped jobs have none."""
    kind = value.get(TAG) if isinstance(value, dict) else None
    return isinstance(kind, str) and kind in KINDS


def _datetime(tag: Tag) -> datetime:
    moment, fold = datetime.fromisoformat(tag["value"]), tag.get("fold", 0)
    if "zone" not in tag:
        return moment.replace(fold=fold)
    try:
        zone = ZoneInfo(tag["zone"])
    except (LookupError, ValueError, OSError):
        # This host does not know the zone; which moment it is stands in the value.
        return moment
    wall = moment.replace(tzinfo=zone, fold=fold)
    # Where the zone has other rules here, the moment counts and not what the clock showed.
    return wall if wall.utcoffset() == moment.utcoffset() else moment.astimezone(zone)


def _time(tag: Tag) -> time:
    found = time.fromisoformat(tag["value"]).replace(fold=tag.get("fold", 0))
    return found.replace(tzinfo=ZoneInfo(tag["zone"])) if "zone" in tag else found


def _duration(tag: Tag) -> Any:
    found = parse_duration(tag["value"])
    if found is None:
        raise ValueError(f"{tag['value']!r} is no duration")
    return found


def _path(tag: Tag) -> Any:
    return PURE_PATHS[tag["pure"]](tag["value"]) if "pure" in tag else Path(tag["value"])


def _lazy(tag: Tag) -> Any:
    """A text that is translated where it is used."""
    return LAZY[tag["call"]](*tag["value"])


class Placeholder(dict[str, str]):
    """Stands in the arguments of a step for what the step before it returns.

    A row has it as a tag. In labels and keys it reads as its name.
    """

    def __init__(self, kind: str) -> None:
        super().__init__({TAG: kind})

    def __str__(self) -> str:
        return self[TAG].upper()

    __repr__ = __str__

    def __format__(self, spec: str) -> str:
        return str(self)

    def __reduce__(self) -> Any:
        """A copy is a placeholder too."""
        return Placeholder, (self[TAG],)

    def __deepcopy__(self, memo: Any) -> Placeholder:
        return self


RESULT = Placeholder("result")
RESULTS = Placeholder("results")
PLACEHOLDERS = {one[TAG]: one for one in (RESULT, RESULTS)}


def placeholder_in(value: Any) -> str:
    """Which placeholder a stored argument is: "result", "results", or "" for none."""
    is_one = isinstance(value, dict) and len(value) == 1 and value.get(TAG) in PLACEHOLDERS
    return str(value[TAG]) if is_one else ""


READERS: dict[str, Callable[[Tag], Any]] = {
    "bytes": lambda tag: b64decode(tag["value"], validate=True),
    "bytearray": lambda tag: bytearray(b64decode(tag["value"], validate=True)),
    "date": lambda tag: date.fromisoformat(tag["value"]),
    "datetime": _datetime,
    "decimal": lambda tag: Decimal(tag["value"]),
    "float": lambda tag: float(tag["value"]),
    "lazy": _lazy,
    "path": _path,
    "time": _time,
    "timedelta": _duration,
    "uuid": lambda tag: UUID(tag["value"]),
    **dict.fromkeys(PLACEHOLDERS, lambda tag: PLACEHOLDERS[tag[TAG]]),
}


KINDS = {
    *(*READERS, "dataclass", "dict", "enum", "frozenset", "model", "namedtuple", "set", "tuple")
}


def simplified(value: Any) -> Any:
    """A typed value as plain JSON for who reads it, and no longer for a task.

    A date is its ISO text, a set is a list, a member of an enumeration is its value.
    """
    try:
        return _simplified(value)
    except (AttributeError, LookupError, TypeError, ValueError):
        # It is no tag of this release's.
        return value


def _simplified(value: Any) -> Any:
    if isinstance(value, list):
        return [simplified(item) for item in value]
    if not isinstance(value, dict):
        return value
    kind = value.get(TAG)
    if kind in SIMPLIFIERS:
        return SIMPLIFIERS[kind](value)
    return _simple_items(value) if kind is None else _simplified(value["value"])


def _simple_dict(tag: Tag) -> dict[str, Any]:
    others = {str(simplified(key)): simplified(item) for key, item in pairs_of(tag)}
    return {**_simple_items(tag["value"]), **others}


SIMPLIFIERS: dict[str, Callable[[Tag], Any]] = {
    "dataclass": lambda tag: _simple_items(tag["value"]),
    "dict": _simple_dict,
    "enum": lambda tag: tag["value"] if "value" in tag else tag["name"],
    "lazy": lambda tag: str(_lazy(tag)),
    "model": lambda tag: {"model": tag["model"], "pk": tag["pk"]},
    **dict.fromkeys(PLACEHOLDERS, lambda tag: str(PLACEHOLDERS[tag[TAG]])),
}


def pairs_of(value: Any) -> list[Any]:
    """The items of a typed dict whose keys are no strings; of another value none."""
    pairs = value.get("others") if isinstance(value, dict) and value.get(TAG) == "dict" else None
    are_pairs = isinstance(pairs, list) and all(
        isinstance(pair, list) and len(pair) == 2 for pair in pairs
    )
    return pairs if pairs and are_pairs else []


def key_text(key: Any) -> str:
    """What a key says of its value: a member of an enumeration by its name and its value."""
    name = key.get("name", "") if isinstance(key, dict) else ""
    return f"{name} {simplified(key)}"


def _simple_items(items: Any) -> dict[str, Any]:
    return {key: simplified(item) for key, item in items.items()}


def texts_of(tag: Tag) -> Iterator[str]:
    """How a tag's value may be quoted, in an error say: by str() and by repr()."""
    if is_tag(tag) and tag[TAG] in READERS:
        with suppress(Exception):
            # It may be none of ours: a dict that looks like a tag.
            value = READERS[tag[TAG]](tag)
            yield from (str(value), repr(value))
