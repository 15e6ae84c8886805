"""Django's tasks API and its backport in one site: a class on Django's base has a twin.

A task that the backport's decorator makes, its results and its contexts are of the backport's own
classes, for its users ask with isinstance(). Where only one of the two APIs is in use, there is no
twin.
"""

from __future__ import annotations

import sys
import threading
from copy import copy
from dataclasses import dataclass, fields
from importlib import import_module
from types import MemberDescriptorType
from typing import Any, Generic, cast

from .compat import Task

# What a class has of itself; and what its dataclass has made, which the twin's makes anew.
_OWN = {"__dict__", "__orig_bases__", "__parameters__", "__slots__", "__weakref__"}
_OF_THE_DATACLASS = {
    "__dataclass_fields__",
    "__dataclass_params__",
    "__delattr__",
    "__eq__",
    "__getstate__",
    "__hash__",
    "__init__",
    "__match_args__",
    "__replace__",
    "__setattr__",
    "__setstate__",
}


def loaded_backport() -> Any:
    """The backport's `django_tasks` where it is loaded beside Django's own API, else None."""
    backport = sys.modules.get("django_tasks")
    base = sys.modules.get("django_tasks.base")
    whole = hasattr(backport, "task_backends") and base is not None and base.Task is not Task
    return backport if whole else None


def task_classes() -> tuple[Any, ...]:
    """The class of all tasks, in each API that is in use."""
    backport = loaded_backport()
    return (Task,) if backport is None else (Task, backport.base.Task)


class ForBoth(type):
    """The type of a class on a base of Django's tasks API, which has a twin on the backport's."""

    @property
    def of_backport(cls) -> Any:
        """The twin: the same class, but one of the backport's API."""
        twin = _TWINS.get(cls)
        if twin is not None:
            return twin
        # One for all threads, or isinstance() would tell them apart.
        with _LOCK:
            if cls not in _TWINS:
                _TWINS[cls] = _twin(cls)
        return _TWINS[cls]

    def __instancecheck__(cls, instance: Any) -> bool:
        """An instance of the twin is one of this class too."""
        return super().__instancecheck__(instance) or cls.__subclasscheck__(type(instance))

    def __subclasscheck__(cls, subclass: type) -> bool:
        """So are those of the twin's subclasses."""
        if super().__subclasscheck__(subclass):
            return True
        twin = _TWINS.get(cls)
        return twin is not None and twin is not cls and twin in subclass.__mro__


_TWINS: dict[type, type] = {}
_LOCK = threading.RLock()


def _twin(cls: type) -> type:
    of_dataclass = "__dataclass_fields__" in vars(cls)
    left_out = _OWN | _OF_THE_DATACLASS if of_dataclass else _OWN
    namespace = {
        name: value
        for name, value in vars(cls).items()
        if name not in left_out and not isinstance(value, MemberDescriptorType)
    }
    # By this name it is found again when it is unpickled.
    namespace["__qualname__"] = f"{cls.__qualname__}.of_backport"
    bases = tuple(_of_backport(base) for base in cls.__bases__ if base is not Generic)
    if of_dataclass:
        own = [field for field in fields(cls) if field.name in cls.__annotations__]
        namespace |= {field.name: copy(field) for field in own}
        twin: Any = type(cls.__name__, bases, namespace)
        twin = dataclass(frozen=True, slots=True, kw_only=True)(twin)
    else:
        twin = type(cls.__name__, bases, {**namespace, "__slots__": vars(cls).get("__slots__", ())})
    return cast(type, twin)


def _of_backport(base: Any) -> Any:
    if isinstance(base, ForBoth):
        return base.of_backport
    return getattr(import_module("django_tasks.base"), base.__name__, base)
