"""What a name or an expression of an audited project can stand for, as far as its text says it."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import lru_cache

from .libraries import SAME
from .sources import SourceFile


@dataclass(frozen=True, slots=True)
class Foreign:
    """Something of a library, by its dotted path. `()` is what a call returns, `[]` an item.

    `celery.Celery().conf` is the attribute `conf` of an instance of Celery.
    """

    path: str


@dataclass(frozen=True, slots=True)
class ModuleRef:
    """A module of the project."""

    source: SourceFile


@dataclass(frozen=True, slots=True)
class PackageRef:
    """A directory of the project without an `__init__.py`. near: the file that imports it."""

    parts: tuple[str, ...]
    near: SourceFile


@dataclass(frozen=True, slots=True)
class FunctionRef:
    """A function of the project. owner: the class whose method it is; depth: of nesting."""

    source: SourceFile
    node: ast.FunctionDef | ast.AsyncFunctionDef
    label: str
    owner: ast.ClassDef | None = None
    depth: int = 0


@dataclass(frozen=True, slots=True)
class LambdaRef:
    """A lambda."""

    node: ast.Lambda


@dataclass(frozen=True, slots=True)
class ClassRef:
    """A class of the project."""

    source: SourceFile
    node: ast.ClassDef
    label: str


@dataclass(frozen=True, slots=True)
class InstanceRef:
    """An instance of a class of the project. is_super: as its bases see it, by `super()`."""

    cls: ClassRef
    is_super: bool = False


@dataclass(frozen=True, slots=True)
class RowsRef:
    """A manager or a queryset of a model, or a list of its instances.

    is_list: a list or a tuple; has_values: its elements are dicts or tuples of values.
    """

    model: ClassRef | Foreign
    is_list: bool = False
    has_values: bool = False


@dataclass(frozen=True, slots=True)
class TaskRef:
    """A task. library: whose; label: its path or name, empty where only its kind is known."""

    library: str
    label: str
    function: FunctionRef | None = None


@dataclass(frozen=True, slots=True)
class SignatureRef:
    """A call for later: `send.s(1)`, a chain, a pipeline."""

    library: str
    label: str


@dataclass(frozen=True, slots=True)
class ResultRef:
    """What a call of a task returns."""

    library: str
    label: str


@dataclass(frozen=True, slots=True)
class MethodRef:
    """An attribute of one of these."""

    owner: TaskRef | SignatureRef | ResultRef | RowsRef
    name: str


Value = (
    Foreign
    | ModuleRef
    | PackageRef
    | FunctionRef
    | LambdaRef
    | ClassRef
    | InstanceRef
    | RowsRef
    | TaskRef
    | SignatureRef
    | ResultRef
    | MethodRef
)


@lru_cache(maxsize=65536)
def foreign(path: str) -> Foreign:
    """Something of a library, by the one path under which the finders know it."""
    steps = path.split(".")
    for length in range(len(steps), 0, -1):
        replacement = SAME.get(".".join(steps[:length]))
        if replacement is not None:
            return foreign(".".join([replacement, *steps[length:]]))
    return Foreign(path)
