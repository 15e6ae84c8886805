"""Texts that are made of a call: its label, for people, and the format of its dedup key."""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django.utils import translation
from django.utils.functional import Promise

from .compat import InvalidTask
from .errors import InvalidArguments
from .options import backend_settings
from .payload import (
    MASK,
    bind,
    clipped,
    json_value,
    masked_call,
    plain,
    printable,
    redact,
    to_json,
)
from .tags import simplified
from .values import TYPED, is_reference, typed_copy

Label = str | Callable[..., str | None] | None
Stored = tuple[list[Any], dict[str, Any]]
MAX_LABEL = MAX_KEY = 255


def label_of(
    task: Any, args: Sequence[Any], kwargs: Mapping[str, Any], typed: Stored | None = None
) -> str:
    """The label of this call in one line, cut to its column; empty where it has none.

    It is made of what everybody may see of the call: sensitive arguments are masked. typed: the
    call as a row has it with types="django": a dataclass, say, may tell what it has within.
    """
    args, kwargs = masked_call(task, args, kwargs)
    if callable(task.label):
        label = task.label(*args, **kwargs)
    else:
        label = formatted("label", task.label, task, bind(task, args, kwargs))
    if label is None:
        return ""
    if not isinstance(label, str):
        raise InvalidArguments(
            f"The label of {task.module_path} must give a string or None, not {type(label)}."
        )
    text = clipped(str(plain(label)))
    text = text if typed is None else redact(text, task, *typed)
    line = " ".join(printable(" ".join(text.split())).split())
    return line if len(line) <= MAX_LABEL else f"{line[: MAX_LABEL - 1]}…"


def check_label(task: Any) -> None:
    """Refuse a label that is none, or that names what is sensitive."""
    name, label = task.module_path, task.label
    if not (label is None or isinstance(label, str) or callable(label)):
        raise InvalidTask(f"{name}: label is a format string or a callable, not {label!r}.")
    if secret := sorted(names_in(label) & set(task.sensitive)):
        raise InvalidTask(
            f"{name}: its label names {', '.join(secret)}, which is sensitive: everybody who sees "
            f"the list of jobs would read it. Name another argument."
        )


def key_from(
    what: str,
    key: str | Callable[..., str | None],
    task: Any,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> str | None:
    """A key that is made of a call: a format string over its arguments, or a callable of them.

    what: its name, for messages. None where the call has no key.
    """
    if callable(key):
        text = key(*args, **kwargs)
    else:
        text = formatted(what, key, task, bind(task, args, kwargs))
    if text is not None and not isinstance(text, str):
        raise InvalidArguments(
            f"The {what} of {task.module_path} must give a string or None, not {type(text)}."
        )
    if text is not None and len(text) > MAX_KEY:
        raise InvalidArguments(
            f"The {what} of {task.module_path} is {len(text)} characters long; at most {MAX_KEY} "
            f"are kept. Use a hash of it."
        )
    return json_value(text, "the key", f"The {what} of {task.module_path}") if text else None


def formatted(what: str, template: str, task: Any, arguments: Mapping[str, Any]) -> str:
    """The template with these arguments; InvalidArguments says what is wrong with it."""
    types = getattr(task, "types", "") or backend_settings(task.backend).options.types
    try:
        return _Formatter(types == TYPED).vformat(template, (), arguments)
    except (LookupError, AttributeError, TypeError, ValueError) as error:
        raise InvalidArguments(
            f"The {what} {template!r} of {task.module_path} cannot be made: {error}. "
            f"It may name these arguments: {', '.join(arguments) or 'none'}; "
            f"write {{{{ and }}}} for literal braces."
        ) from None


def names_in(label: Label) -> set[str]:
    """The arguments that a format string names, those within the format of another one included."""
    names: set[str] = set()
    if not isinstance(label, str):
        return names
    try:
        for _text, field, spec, _conversion in string.Formatter().parse(label):
            names |= {(field or "").partition(".")[0].partition("[")[0]} | names_in(spec or None)
    except ValueError:
        # Whoever enqueues is told.
        return set()
    return names - {""}


class _Formatter(string.Formatter):
    """str.format without private attributes: a text is made of the call's values only.

    typed: whether the task has types="django".
    """

    def __init__(self, typed: bool) -> None:
        self._as_stored = _as_stored if typed else plain

    def get_field(self, field_name: str, args: Any, kwargs: Any) -> Any:
        if "._" in field_name or "[_" in field_name:
            raise KeyError(field_name)
        return super().get_field(field_name, args, kwargs)

    def format_field(self, value: Any, format_spec: str) -> str:
        """A member of an enumeration is the text or number that will be stored, such as "red"."""
        # A number that is masked has no digits any more.
        format_spec = "" if value is MASK else format_spec
        return str(super().format_field(self._as_stored(value), format_spec))

    def convert_field(self, value: Any, conversion: Any) -> Any:
        return super().convert_field(self._as_stored(value), conversion)


def _as_stored(value: Any) -> Any:
    """What stands for the value in a text: the same in each process, and in each language."""
    if isinstance(value, set | frozenset) or is_reference(value):
        return to_json(simplified(typed_copy(value, "the key")))
    if isinstance(value, Promise):
        with translation.override(None):
            return str(value)
    return plain(value)
