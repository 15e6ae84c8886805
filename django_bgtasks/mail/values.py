"""The values in an email message as JSON and back: bytes, attachments, MIME parts, dates."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from datetime import datetime
from email import message_from_bytes, policy
from email.charset import Charset
from email.message import Message, MIMEPart
from email.mime.base import MIMEBase
from typing import Any, cast

from django.core.mail.message import EmailAlternative, EmailAttachment, EmailMessage
from django.utils.functional import Promise

TAG = "$"


class Unstorable(TypeError):
    """JSON has no form for this value."""


def encode(value: Any, nested: Callable[[EmailMessage], Any]) -> Any:
    """The value as JSON; `nested` packs a message within the message. Raises Unstorable."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str | Promise):
        return str(value)
    if isinstance(value, EmailMessage):
        return {TAG: "email", "value": nested(value)}
    if isinstance(value, Mapping):
        return _encode_mapping(value, nested)
    if isinstance(value, list | tuple | set | frozenset):
        items = [encode(item, nested) for item in value]
        kind = type(value).__name__
        return {TAG: kind, "value": items} if TUPLES.get(kind) is type(value) else items
    return _encode_other(value)


def decode(value: Any, nested: Callable[[Any], EmailMessage]) -> Any:
    """The value that was encoded; `nested` unpacks a message within the message."""
    if isinstance(value, list):
        return [decode(item, nested) for item in value]
    if isinstance(value, dict) and TAG in value:
        return _decode_tagged(value[TAG], value["value"], nested)
    if isinstance(value, dict):
        return {name: decode(item, nested) for name, item in value.items()}
    return value


def _decode_tagged(kind: str, inner: Any, nested: Callable[[Any], EmailMessage]) -> Any:
    if kind == "email":
        return nested(inner)
    if kind == "pairs":
        return {decode(name, nested): decode(item, nested) for name, item in inner}
    if kind in TUPLES:
        return TUPLES[kind](*decode(inner, nested))
    return DECODERS[kind](inner)


def _encode_mapping(value: Mapping[Any, Any], nested: Callable[[EmailMessage], Any]) -> Any:
    if all(isinstance(name, str) for name in value) and TAG not in value:
        return {str(name): encode(item, nested) for name, item in value.items()}
    pairs = [[encode(name, nested), encode(item, nested)] for name, item in value.items()]
    return {TAG: "pairs", "value": pairs}


def _encode_other(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return {TAG: "bytes", "value": _text(bytes(value))}
    if isinstance(value, datetime):
        return {TAG: "datetime", "value": value.isoformat()}
    if isinstance(value, Charset):
        return {TAG: "charset", "value": vars(value)}
    if isinstance(value, Message):
        return {TAG: _kind_of(value), "value": _text(value.as_bytes())}
    raise Unstorable(f"a value of type {type(value).__qualname__} cannot be stored as JSON.")


def _kind_of(part: Message) -> str:
    if isinstance(part, MIMEBase):
        return "mime"
    return "part" if isinstance(part, MIMEPart) else "message"


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


TUPLES: dict[str, Any] = {cls.__name__: cls for cls in (EmailAlternative, EmailAttachment)}
DECODERS: dict[str, Callable[[Any], Any]] = {
    "bytes": base64.b64decode,
    "datetime": datetime.fromisoformat,
    "charset": _charset,
    "mime": _mime,
    "part": lambda text: message_from_bytes(base64.b64decode(text), policy=policy.default),
    "message": lambda text: message_from_bytes(base64.b64decode(text), policy=policy.compat32),
}
