"""What is not for everybody's eyes: sensitive arguments, and values whose key names a secret."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from inspect import Parameter
from typing import Any

from django.views.debug import SafeExceptionReporterFilter

from .compat import InvalidTask
from .payload import signature

# Django's own words for secrets (API, AUTH, KEY, PASS, SECRET, SIGNATURE, TOKEN) and its mask.
FILTER = SafeExceptionReporterFilter()
MASK = FILTER.cleansed_substitute
# What is shorter would be cut out of words that are no secret.
SHORTEST = 4
POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


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
    call = [list(args), dict(kwargs)]
    found = set(_hidden(call, list(masked_call(task, args, kwargs))))
    # The longest first: one may be a part of another.
    for secret in sorted(found, key=len, reverse=True):
        if len(secret) >= SHORTEST:
            text = text.replace(secret, MASK)
    return text


def check(task: Any) -> None:
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
    """The strings and numbers that are masked in `visible`, as text and as repr() quotes it."""
    if isinstance(value, Mapping) and isinstance(visible, Mapping):
        for key in value:
            yield from _hidden(value[key], visible[key])
    elif isinstance(value, list) and isinstance(visible, list):
        for one, other in zip(value, visible, strict=True):
            yield from _hidden(one, other)
    elif visible == MASK and isinstance(value, str):
        yield from (value, repr(value)[1:-1])
    elif visible == MASK and isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)
