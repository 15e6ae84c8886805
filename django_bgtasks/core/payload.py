"""What a call may be, and what may be stored of it and of its result: JSON within the caps."""

from __future__ import annotations

import inspect
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from decimal import Decimal
from functools import cache, lru_cache
from typing import Any

from django.utils.functional import Promise

from .errors import InvalidArguments

MAX_BYTES = 256 * 1024
MAX_DEPTH = 64
MAX_TRACEBACK = 64 * 1024
NUMBERS, TEXTS = (int, float), (str, bytes, Promise)
PLAIN: dict[Any, Any] = {str: str.__str__, int: int.__int__, float: float.__float__}
EXACT = {bool, int, float, str, type(None)}
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


# A string, so that nothing within one is taken for a number, or a number with an exponent above 0.
_LARGE = re.compile(r'"(?:[^"\\]|\\.)*"|-?\d[\d.]*e\+\d+')


class StoredJSON(json.JSONEncoder):
    """JSON in which a large float is still a float when PostgreSQL has read it.

    Its jsonb keeps 1e+16 as the integer 10000000000000000, and 10000000000000000.0 as it is.
    """

    def encode(self, o: Any) -> str:
        """The value as one text."""
        text = super().encode(o)
        return _LARGE.sub(_written_out, text) if "e+" in text else text


def _written_out(found: re.Match[str]) -> str:
    text = found[0]
    return text if text[0] == '"' else f"{Decimal(text):f}.0"


to_json = StoredJSON().encode


def json_value(value: Any, what: str, where: str) -> Any:
    """A JSON copy of `value`: tuples become lists, as they will be read back.

    what: how the error names it, such as "args"; where: the task's path.
    Raises InvalidArguments for a value that JSON or the database cannot keep.
    """
    if value is None:
        return None
    try:
        copied = _copy(value, what, 0)
        size = len(_encode(copied).encode())
    except (_Refused, UnicodeEncodeError, RecursionError) as refusal:
        raise InvalidArguments(f"{where}: {refusal}") from None
    if size > MAX_BYTES:
        raise InvalidArguments(
            f"{where}: {what} is too large: {size} bytes of JSON, at most {MAX_BYTES} are kept. "
            f"Store the data in a file or a row and pass its id."
        )
    return copied


class _Refused(Exception):
    pass


def _copy(value: Any, path: str, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise _Refused(f"{path[:80]}… is nested too deep: at most {MAX_DEPTH} levels are kept.")
    if value is None or isinstance(value, NUMBERS):
        return _number(value, path)
    if isinstance(value, TEXTS):
        return _text(_read(value, path), path)
    if isinstance(value, Mapping):
        return {_key(k, path): _copy(v, f"{path}[{k!r}]", depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_copy(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)]
    raise _Refused(
        f"Unsupported type: {type(value)} at {path} is not JSON. Pass a string, a number, a list "
        f"or a dict, such as an id or .isoformat()."
    )


def plain(value: Any) -> Any:
    """The text or the number that an instance of a subclass is, such as "red" for Color.RED.

    Neither str() nor repr() says it: a subclass may have its own.
    """
    if type(value) in EXACT:
        return value
    for kind, read in PLAIN.items():
        if isinstance(value, kind):
            # What wraps a text, such as Django's SimpleLazyObject, is of no subclass.
            return read(value) if issubclass(type(value), kind) else plain(copy(value))
    return value


def _number(value: Any, path: str) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise _Refused(f"{path} is {value}, which JSON does not have. Pass None or a string.")
    if isinstance(value, int) and value.bit_length() > 1024:
        raise _Refused(f"{path} is an integer of {value.bit_length()} bits. Pass it as a string.")
    return plain(value)


def _read(value: Any, path: str) -> str:
    if isinstance(value, bytes):
        return _decoded(value, path)
    # A lazy translation is a text now, in the language of the caller.
    return str(value) if isinstance(value, Promise) else str(plain(value))


def _decoded(value: bytes, path: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise _Refused(f"Unsupported value: {path} is bytes that are not UTF-8 text.") from None


def _text(value: str, path: str) -> str:
    if fault := _unstorable(value):
        raise _Refused(f"{path} {fault}")
    return value


def _unstorable(text: str) -> str:
    if "\0" in text:
        return "contains a NUL character, which PostgreSQL does not store."
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        return "contains a lone surrogate: it is not valid text. Decode it anew."
    return ""


def fault_of(name: Any, longest: int, shortest: int = 1) -> str:
    """Why some database would not keep this as a name, such as a queue's; empty if all keep it.

    It goes on from "The name …": what a database says itself differs, and some cut silently.
    """
    if not isinstance(name, str):
        return f"is a string, not {type(name)}."
    if not shortest <= len(name) <= longest:
        return f"has {shortest} to {longest} characters, not {len(name)}."
    return _unstorable(name)


def _key(key: Any, path: str) -> str:
    if not isinstance(key, str):
        raise _Refused(f"{path} has the key {key!r}: JSON keys are strings.")
    return _text(plain(key), f"a key of {path}")


def clipped(text: str, limit: int = MAX_TRACEBACK) -> str:
    """Text that any database stores, at most `limit` characters: its head and its tail."""
    if len(text) > limit:
        half = (limit - 60) // 2
        left_out = len(text) - 2 * half
        text = f"{text[:half]}\n\n[… {left_out} characters left out …]\n\n{text[-half:]}"
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def printable(text: str) -> str:
    """One line without control characters: a log must not be written by its contents."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else "?" for char in text)


def bind(task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The call's arguments by name, defaults included; a wrong call is refused here."""
    placeholder = (None,) if task.takes_context else ()
    try:
        bound = signature(task.func).bind(*placeholder, *args, **kwargs)
    except TypeError as error:
        raise InvalidArguments(f"{task.module_path}: {error}.") from None
    bound.apply_defaults()
    return dict(bound.arguments)


def refuse_wrong_call(task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Raise InvalidArguments for a call that the task's function does not take."""
    try:
        _fits(task.func, len(args) + bool(task.takes_context), tuple(kwargs))
    except TypeError as error:
        raise InvalidArguments(f"{task.module_path}: {error}.") from None


@lru_cache(maxsize=1024)
def _fits(func: Callable[..., Any], count: int, names: tuple[str, ...]) -> None:
    """Bind a call of this shape; its values do not matter."""
    signature(func).bind(*([None] * count), **dict.fromkeys(names))


@cache
def signature(func: Callable[..., Any]) -> inspect.Signature:
    """The signature of a task's function, read once."""
    return inspect.signature(func)
