"""An email message as JSON and back: everything that its delivery needs, bcc included."""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from email import message_from_bytes, policy
from email.charset import Charset
from email.message import Message, MIMEPart
from email.mime.base import MIMEBase
from typing import Any, cast
from uuid import UUID

from django.core.mail.message import (
    EmailAlternative,
    EmailAttachment,
    EmailMessage,
    EmailMultiAlternatives,
)
from django.utils.functional import Promise
from django.utils.module_loading import import_string

from ..core.payload import plain

SerializedMessage = dict[str, Any]
# A connection cannot be stored: the delivery makes its own. The status of a sending is Anymail's.
LEFT_OUT = frozenset({"connection", "_connection", "anymail_status"})
# The name under which an object of JSON says what its value was.
TAG = "$"


def serialize(message: EmailMessage) -> SerializedMessage:
    """The class of the message and its attributes, as JSON.

    All attributes are kept, also those that others have added, such as Anymail's. A class may leave
    some out, or put something else in their place, with `__getstate__`. Raises TypeError, with the
    name of the attribute, for what has no form here; and when the class cannot be imported.
    """
    state: Any = message.__getstate__()
    attributes = state if isinstance(state, dict) else vars(message)
    return {
        "class": _path_of(type(message)),
        **{name: _encode(v, name) for name, v in attributes.items() if name not in LEFT_OUT},
    }


def deserialize(serialized: SerializedMessage) -> EmailMessage:
    """The message that was serialized, without a connection."""
    attributes = dict(serialized)
    cls = import_string(attributes.pop("class"))
    if not (isinstance(cls, type) and issubclass(cls, EmailMessage)):
        raise TypeError(f"{cls!r} is not a class of email messages.")
    message: EmailMessage = cls.__new__(cls)
    # Django's own defaults first: another version of Django may have written this.
    base: Any = EmailMultiAlternatives if issubclass(cls, EmailMultiAlternatives) else EmailMessage
    base.__init__(message)
    stored = {name: _decode(value) for name, value in attributes.items()}
    if hasattr(message, "__setstate__"):
        message.__setstate__(stored)
    else:
        vars(message).update(stored)
    return message


def _path_of(cls: type[EmailMessage]) -> str:
    path = f"{cls.__module__}.{cls.__qualname__}"
    if not _is_importable(cls, path):
        raise TypeError(
            f"An email cannot be sent in the background: its class {path} cannot be imported. "
            f"Define it at the top level of a module."
        )
    return path


def _is_importable(cls: type[Any], path: str) -> bool:
    try:
        return import_string(path) is cls
    except ImportError:
        return False


def _encode(value: Any, path: str) -> Any:
    """The value as JSON. Raises TypeError.

    path: what an error calls it, such as `merge_data['total']`.
    """
    if value is None or isinstance(value, str | Promise | bool | int | float):
        return str(value) if isinstance(value, Promise) else plain(value)
    if isinstance(value, EmailMessage):
        return {TAG: "email", "value": serialize(value)}
    if isinstance(value, Mapping):
        return _encode_mapping(value, path)
    for kind, (cls, _) in COLLECTIONS.items():
        if isinstance(value, cls):
            items = [_encode(item, f"{path}[{i}]") for i, item in enumerate(value)]
            return items if kind == "list" else {TAG: kind, "value": items}
    for kind, cls, write, _ in VALUES:
        if isinstance(value, cls):
            return {TAG: kind, "value": write(value)}
    return _encode_class(value, path)


def _decode(value: Any) -> Any:
    """The value that was encoded."""
    if isinstance(value, list):
        return [_decode(item) for item in value]
    if isinstance(value, dict) and TAG in value:
        return _decode_tagged(value[TAG], value["value"])
    if isinstance(value, dict):
        return {name: _decode(item) for name, item in value.items()}
    return value


def _decode_tagged(kind: str, inner: Any) -> Any:
    if kind == "email":
        return deserialize(inner)
    if kind == "pairs":
        return {_decode(name): _decode(item) for name, item in inner}
    if kind in COLLECTIONS:
        return COLLECTIONS[kind][1](_decode(inner))
    return DECODERS[kind](inner)


def _encode_mapping(value: Mapping[Any, Any], path: str) -> Any:
    if all(isinstance(name, str) for name in value) and TAG not in value:
        return {str(plain(n)): _encode(item, f"{path}[{n!r}]") for n, item in value.items()}
    pairs = [
        [_encode(name, f"a key of {path}"), _encode(item, f"{path}[{name!r}]")]
        for name, item in value.items()
    ]
    return {TAG: "pairs", "value": pairs}


def _encode_class(value: Any, path: str) -> Any:
    """A class as what it is: Anymail has one for "not set"."""
    if isinstance(value, type):
        name = f"{value.__module__}.{value.__qualname__}"
        if _is_importable(value, name):
            return {TAG: "class", "value": name}
    raise TypeError(
        f"An email cannot be sent in the background with its attribute {path}: a value of type "
        f"{type(value).__qualname__} cannot be stored. Give it what stands for that, such as a "
        f"string, a number, a date or a list of such."
    )


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _charset(attributes: dict[str, Any]) -> Charset:
    charset = Charset()
    vars(charset).update(attributes)
    return charset


def _mime(text: str) -> MIMEBase:
    """A part of the legacy API: Django tells these apart by their class."""
    bare: Any = _bare_mime
    part: Any = message_from_bytes(base64.b64decode(text), _class=bare, policy=policy.compat32)
    return cast(MIMEBase, part)


def _bare_mime(policy: policy.Policy[Any]) -> MIMEBase:
    part = MIMEBase("application", "octet-stream", policy=policy)
    for name in set(part):
        del part[name]
    return part


def _message(text: str) -> Message:
    return message_from_bytes(base64.b64decode(text), policy=policy.compat32)


def _part(text: str) -> Any:
    return message_from_bytes(base64.b64decode(text), policy=policy.default)


def _bytes_of(part: Any) -> str:
    return _text(part.as_bytes())


# By kind: the class, and what makes one of a list. The first that fits counts.
COLLECTIONS: dict[str, tuple[Any, Callable[[list[Any]], Any]]] = {
    "EmailAlternative": (EmailAlternative, lambda items: EmailAlternative(*items)),
    "EmailAttachment": (EmailAttachment, lambda items: EmailAttachment(*items)),
    "list": (list | deque, list),
    "tuple": (tuple, tuple),
    "set": (set, set),
    "frozenset": (frozenset, frozenset),
}
# The kind, the class, how it is written, and how it is read. The first that fits counts.
VALUES: list[tuple[str, Any, Callable[[Any], Any], Callable[[Any], Any]]] = [
    ("bytes", bytes | bytearray | memoryview, lambda data: _text(bytes(data)), base64.b64decode),
    ("decimal", Decimal, str, Decimal),
    ("datetime", datetime, datetime.isoformat, datetime.fromisoformat),
    ("date", date, date.isoformat, date.fromisoformat),
    ("time", time, time.isoformat, time.fromisoformat),
    (
        "timedelta",
        timedelta,
        lambda span: [span.days, span.seconds, span.microseconds],
        lambda parts: timedelta(*parts),
    ),
    ("uuid", UUID, str, UUID),
    ("charset", Charset, vars, _charset),
    ("mime", MIMEBase, _bytes_of, _mime),
    ("part", MIMEPart, _bytes_of, _part),
    ("message", Message, _bytes_of, _message),
]
DECODERS: dict[str, Callable[[Any], Any]] = {
    "class": import_string,
    **{kind: read for kind, _, _, read in VALUES},
}
