"""An email message as JSON and back: everything that its delivery needs, bcc included."""

from __future__ import annotations

import logging
from typing import Any

from django.core.mail.message import EmailMessage, EmailMultiAlternatives
from django.utils.module_loading import import_string

from . import values
from .values import Unstorable

logger = logging.getLogger("django_bgtasks")

Envelope = dict[str, Any]
# A connection cannot be stored: the delivery makes its own.
LEFT_OUT = frozenset({"connection", "_connection"})


def packed(message: EmailMessage) -> Envelope:
    """The class of the message and its attributes, as JSON.

    Raises TypeError when the class cannot be imported or an attribute of Django's own cannot be
    stored; one that a subclass added is left out, and a warning says so.
    """
    attributes = {}
    for name, value in vars(message).items():
        if name in LEFT_OUT:
            continue
        try:
            attributes[name] = values.encode(value, packed)
        except Unstorable as error:
            if name in vars(EmailMultiAlternatives()):
                raise TypeError(f"An email cannot be sent in the background: {error}") from None
            logger.warning("An email is sent without its attribute %r: %s", name, error)
    return {"class": _path_of(type(message)), **attributes}


def unpacked(envelope: Envelope) -> EmailMessage:
    """The message that was packed, without a connection."""
    attributes = dict(envelope)
    cls = import_string(attributes.pop("class"))
    if not (isinstance(cls, type) and issubclass(cls, EmailMessage)):
        raise TypeError(f"{cls!r} is not a class of email messages.")
    message: EmailMessage = cls.__new__(cls)
    # Django's own defaults first: another version of Django may have packed this.
    base: Any = EmailMultiAlternatives if issubclass(cls, EmailMultiAlternatives) else EmailMessage
    base.__init__(message)
    stored = {name: values.decode(value, unpacked) for name, value in attributes.items()}
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
