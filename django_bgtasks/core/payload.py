"""What may be stored of a call and of its result, JSON within the caps, and what of it is shown.

Sensitive arguments, and values whose key names a secret, are masked for all who may not see them.
"""

from __future__ import annotations

import inspect
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from decimal import Decimal
from functools import cache, lru_cache
from inspect import Parameter
from typing import Any

from django.utils.functional import Promise
from django.views.debug import SafeExceptionReporterFilter

from .compat import InvalidTask
from .errors import InvalidArguments
from .tags import DESCRIPTIVE, is_tag, key_text, pairs_of, texts_of

MAX_BYTES = 256 * 1024
MAX_DEPTH = 64
MAX_TRACEBACK = 64 * 1024
NUMBERS, TEXTS = (int, float), (str, bytes, Promise)
PLAIN: dict[Any, Any] = {str: str.__str__, int: int.__int__, float: float.__float__}
EXACT = {bool, int, float, str, type(None)}
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class _Filter(SafeExceptionReporterFilter):
    """Django's filter, which knows the keys of a typed dict too; see core/values.py."""

    def cleanse_setting(self, key: Any, value: Any) -> Any:
        cleansed = super().cleanse_setting(key, value)
        if isinstance(cleansed, dict) and (pairs := pairs_of(value)):
            cleansed["others"] = [[one, self.cleanse_setting(key_text(one), v)] for one, v in pairs]
        return cleansed


# Django's own words for secrets (API, AUTH, KEY, PASS, SECRET, SIGNATURE, TOKEN) and its mask.
FILTER = _Filter()
MASK = FILTER.cleansed_substitute
# What is stored with its type where a task asks for it.
OF_A_CALL = ("args", "kwargs", "the result")
TYPES = (
    ' Or write @task(types="django"), from django_bgtasks: then dates and times, decimals, UUIDs, '
    "paths, sets, tuples, enumerations, dataclasses and model instances arrive as they left."
)
# What is shorter would be cut out of words that are no secret.
SHORTEST = 4
# A string, so that nothing within one is taken for a number, or a number with an exponent above 0.
_LARGE = re.compile(r'"(?:[^"\\]|\\.)*"|-?\d[\d.]*e\+\d+')
POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


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


def json_value(
    value: Any,
    what: str,
    where: str,
    not_json: type[TypeError] = InvalidArguments,
    copied_by: Callable[[Any, str, int], Any] | None = None,
) -> Any:
    """A JSON copy of `value`: tuples become lists, as they will be read back.

    what: how the error names it, such as "args"; where: the task's path. copied_by: what makes the
    copy, core.values.typed_copy() for what shall arrive as it left.
    Raises InvalidArguments for a value that the database cannot keep, and `not_json` for one that
    JSON does not have.
    """
    if value is None:
        return None
    if type(value) is dict and not value:
        # Most calls have no keyword arguments.
        return {}
    try:
        copied = (copied_by or json_copy)(value, what, 0)
        size = len(_encode(copied).encode())
    except NotJSON as refusal:
        cure = TYPES if what in OF_A_CALL and copied_by is None else ""
        raise not_json(f"{where}: {refusal}{cure}") from None
    except (Refused, UnicodeEncodeError, RecursionError) as refusal:
        raise InvalidArguments(f"{where}: {refusal}") from None
    if size > MAX_BYTES:
        raise InvalidArguments(
            f"{where}: {what} is too large: {size} bytes of JSON, at most {MAX_BYTES} are kept. "
            f"Store the data in a file or a row and pass its id."
        )
    return copied


class Refused(Exception):
    """A value cannot be stored, for this reason."""


class NotJSON(Refused):
    """JSON does not have such a value."""


def json_copy(value: Any, path: str, depth: int) -> Any:
    """The copy that json_value() makes. path: where it is in the call; depth: how deep."""
    if depth > MAX_DEPTH:
        raise Refused(f"{path[:80]}… is nested too deep: at most {MAX_DEPTH} levels are kept.")
    if value is None or isinstance(value, NUMBERS):
        return _number(value, path)
    if isinstance(value, TEXTS):
        return _text(_read(value, path), path)
    if isinstance(value, Mapping):
        return {_key(k, path): json_copy(v, f"{path}[{k!r}]", depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [json_copy(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)]
    if isinstance(value, Sequence):
        # As in Django: a range, say, is a list. It may tell of more than fits into the memory.
        if len(value) > MAX_BYTES:
            raise Refused(f"{path} is too large: it has {len(value)} items.")
        return [json_copy(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)]
    raise NotJSON(
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
        raise NotJSON(f"{path} is {value}, which JSON does not have. Pass None or a string.")
    if isinstance(value, int) and value.bit_length() > 1024:
        raise Refused(f"{path} is an integer of {value.bit_length()} bits. Pass it as a string.")
    return plain(value)


def _read(value: Any, path: str) -> str:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise Refused(f"Unsupported value: {path} is bytes that are not UTF-8 text.") from None
    # A lazy translation is a text now, in the language of the caller.
    return str(value) if isinstance(value, Promise) else str(plain(value))


def _text(value: str, path: str) -> str:
    if fault := _unstorable(value):
        raise Refused(f"{path} {fault}")
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
        raise NotJSON(f"{path} has the key {key!r}: JSON keys are strings.")
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


def may_see_secrets(user: Any) -> bool:
    """Whether this user reads sensitive values, and not the mask in their place."""
    return bool(user.has_perm("django_bgtasks.view_sensitive"))


def masked(value: Any) -> Any:
    """A JSON value whose secrets are masked: what is stored under a key that names one."""
    return FILTER.cleanse_setting("", value)


def masked_call(
    task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of a call, those masked that `task.sensitive` or their own name hides.

    task: None if it is not known here. Nobody can say then which arguments are sensitive: all are
    masked, as is an argument that the function does not have (any more).
    """
    if task is None:
        return [MASK] * len(args), dict.fromkeys(kwargs, MASK)
    parameters = _parameters(task)
    kinds = {parameter.kind: parameter.name for parameter in parameters}
    names: list[str | None] = [p.name for p in parameters if p.kind in POSITIONAL]
    names += [kinds.get(Parameter.VAR_POSITIONAL)] * len(args)
    known = {p.name for p in parameters}
    others = kinds.get(Parameter.VAR_KEYWORD)
    return (
        [_visible(task, name, name, value) for name, value in zip(names, args, strict=False)],
        {
            key: _visible(task, key, key if key in known else others, value)
            for key, value in kwargs.items()
        },
    )


def masked_key(task: Any, key: str) -> str:
    """A dedup key of the task's; as it may be made of any argument, all of it or nothing."""
    hidden = task is None or bool(_sensitive(task))
    return MASK if key and hidden else key


def redact(text: str, task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """Text without the masked strings and numbers of a call, such as an error that quotes them."""
    return redactor(task, args, kwargs)(text)


def redactor(task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Callable[[str], str]:
    """redact() for many texts about one call."""
    call = [list(args), dict(kwargs)]
    found = set(_hidden(call, list(masked_call(task, args, kwargs))))
    # The longest first: one may be a part of another.
    secrets = sorted((one for one in found if len(one) >= SHORTEST), key=len, reverse=True)

    def redacted(text: str) -> str:
        for secret in secrets:
            text = text.replace(secret, MASK)
        return text

    return redacted


def check_sensitive(task: Any) -> None:
    """Refuse names that are no parameters: a typo would show what it should hide."""
    name, sensitive = task.module_path, task.sensitive
    if not isinstance(sensitive, tuple | list) or not all(isinstance(s, str) for s in sensitive):
        raise InvalidTask(
            f'{name}: sensitive takes names of parameters, such as ("iban",), not {sensitive!r}.'
        )
    parameters = _parameters(task)
    known = {parameter.name for parameter in parameters}
    if any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters):
        return
    if unknown := [word for word in sensitive if word not in known]:
        raise InvalidTask(
            f"{name}: sensitive names {', '.join(unknown)}, which is no parameter of it. It has "
            f"these: {', '.join(sorted(known)) or 'none'}."
        )


def _sensitive(task: Any) -> Sequence[str]:
    # A task of Django's own @task has no such option.
    names: Sequence[str] = getattr(task, "sensitive", ())
    return names


def _parameters(task: Any) -> list[Parameter]:
    """Those that a call gives, without the context."""
    return list(signature(task.func).parameters.values())[1 if task.takes_context else 0 :]


def _visible(task: Any, key: str | None, parameter: str | None, value: Any) -> Any:
    """key: the name of the argument. parameter: what takes it, such as `kwargs`; None if none."""
    sensitive = _sensitive(task)
    if key is None or parameter is None or parameter in sensitive or key in sensitive:
        return MASK
    return FILTER.cleanse_setting(key, value)


def _hidden(value: Any, visible: Any) -> Iterator[str]:
    """The strings and numbers that are masked in `visible`, in each way in which an error quotes
    them. Where a list or dict is masked as a whole these are all of its values.
    """
    if isinstance(value, Mapping) and isinstance(visible, Mapping):
        for key in value:
            yield from _hidden(value[key], visible[key])
    elif isinstance(value, list) and isinstance(visible, list):
        for one, other in zip(value, visible, strict=True):
            yield from _hidden(one, other)
    elif visible == MASK:
        yield from _texts_within(value)


def _texts_within(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield from (value, repr(value)[1:-1], json.dumps(value)[1:-1])
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)
    elif isinstance(value, list):
        for item in value:
            yield from _texts_within(item)
    elif isinstance(value, Mapping):
        yield from texts_of(value)
        for name, item in value.items():
            if not (name in DESCRIPTIVE and is_tag(value)):
                # What a tag has as its value may have such names itself, and is no tag.
                inner = [*item.values()] if is_tag(value) and isinstance(item, Mapping) else item
                yield from _texts_within(inner)
