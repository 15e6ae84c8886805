"""Former paths of tasks: a job that was enqueued under one runs with the task that claims it."""

from __future__ import annotations

from collections.abc import Sequence

from .compat import InvalidTask

MAX_PATH = 255
# Of each alias that this process knows the path of its task, and of each such path its aliases.
CURRENT: dict[str, str] = {}
_aliases: dict[str, tuple[str, ...]] = {}


def register_aliases(path: str, aliases: Sequence[str]) -> None:
    """Let the task at this path stand for these. InvalidTask if another one claims one of them."""
    if path in CURRENT:
        raise InvalidTask(
            f"{path} is an alias of {CURRENT[path]}, so it cannot be a task itself: its jobs run "
            f"there. Remove one of the two, or the alias."
        )
    new = tuple(aliases)
    if new == _aliases.get(path, ()):
        return
    for alias in new:
        claimed_by = CURRENT.get(alias, path)
        if claimed_by != path:
            raise InvalidTask(
                f"{path}: the alias {alias!r} is claimed by {claimed_by} already. A job that was "
                f"enqueued under it can run with one task only."
            )
    for alias in _aliases.pop(path, ()):
        del CURRENT[alias]
    if new:
        _aliases[path] = new
        CURRENT.update(dict.fromkeys(new, path))


def check_aliases(path: str, aliases: object) -> None:
    """Refuse what is no list of dotted paths."""
    if not isinstance(aliases, tuple | list) or not all(map(_is_path, aliases)):
        raise InvalidTask(
            f'{path}: aliases takes former paths of the task, such as ("shop.tasks.push",), not '
            f"{aliases!r}."
        )
    if path in aliases:
        raise InvalidTask(f"{path}: the path of a task is no alias of it.")


def oldest_path(path: str) -> str:
    """The path under which the dedup keys of the task are held: the first of its aliases.

    Hosts that do not know its new name yet hold them under that one, too.
    """
    path = CURRENT.get(path, path)
    return _aliases[path][0] if path in _aliases else path


def aliases_of(path: str) -> tuple[str, ...]:
    """The former paths of the task at this path."""
    return _aliases.get(path, ())


def _is_path(alias: object) -> bool:
    if not isinstance(alias, str) or not 1 <= len(alias) <= MAX_PATH or "." not in alias:
        return False
    return all(part.isidentifier() for part in alias.split("."))
