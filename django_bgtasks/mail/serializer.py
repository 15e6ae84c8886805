"""An email message as JSON and back: everything that its delivery needs, bcc included."""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from email import message_from_bytes, policy
from email.charset import Charset
from email.message import Message, MIMEPart
from email.mime.base import MIMEBase
from typing import Any, cast

from django.core.mail.message import (
    EmailAlternative,
    EmailAttachment,
    EmailMessage,
    EmailMultiAlternatives,
)
from django.utils.functional import Promise
from django.utils.module_loading import import_string

logger = logging.getLogger("django_bgtasks")

SerializedMessage = dict[str, Any]
# A connection cannot be stored: the delivery makes its own.
LEFT_OUT = frozenset({"connection", "_connection"})
# The name under which an object of JSON says what its value was.
TAG = "$"


class NotSerializable(TypeError):
    """JSON has no form for this value."""


def serialize(message: EmailMessage) -> SerializedMessage:
    """The class of the message and its attributes, as JSON.

    Raises TypeError when the class cannot be imported or an attribute of Django's own cannot be
    stored; one that a subclass added is left out, and a warning says so.
    """
    attributes = {}
    for name, value in vars(message).items():
        if name in LEFT_OUT:
            continue
        try:
            attributes[name] = _encode(value)
        except NotSerializable as error:
            if name in vars(EmailMultiAlternatives()):
                raise TypeError(f"An email cannot be sent in the background: {error}") from None
            logger.warning("An email is sent without its attribute %r: %s", name, error)
    return {"class": _path_of(type(message)), **attributes}


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
    vars(message).update(stored)
    return message


def _path_of(cls: type[EmailMessage]) -> str:
    path = f"{cls.__module__}.{cls.__qualname__}"
    try:
        found = import_string(path)
    except ImportError:
        found = None
    if found is not cls:
        raise TypeError(
            f"An email cannot be sent in the background: its class {path} cannot be imported. "
            f"Define it at the top level of a module."
        )
    return path


def _encode(value: Any) -> Any:
    """The value as JSON. Raises NotSerializable."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str | Promise):
        return str(value)
    if isinstance(value, EmailMessage):
        return {TAG: "email", "value": serialize(value)}
    if isinstance(value, Mapping):
        return _encode_mapping(value)
    if isinstance(value, list | tuple | set | frozenset):
        items = [_encode(item) for item in value]
        kind = type(value).__name__
        return {TAG: kind, "value": items} if TUPLES.get(kind) is type(value) else items
    return _encode_other(value)


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
    if kind in TUPLES:
        return TUPLES[kind](*_decode(inner))
    return DECODERS[kind](inner)


def _encode_mapping(value: Mapping[Any, Any]) -> Any:
    if all(isinstance(name, str) for name in value) and TAG not in value:
        return {str(name): _encode(item) for name, item in value.items()}
    pairs = [[_encode(name), _encode(item)] for name, item in value.items()]
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
    raise NotSerializable(f"a value of type {type(value).__qualname__} cannot be stored as JSON.")


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
