"""Classes whose values travel, and tasks that send them back."""

from __future__ import annotations

import enum
from collections import namedtuple
from dataclasses import InitVar, dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar, NamedTuple

from django.db import models

from django_bgtasks import task

Pair = namedtuple("Pair", "a b")
SEEN: list[Any] = []


class Color(enum.Enum):
    RED = "red"
    DEEP = (0, 0, 139)
    CRIMSON = "red"  # noqa: PIE796


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Access(enum.Flag):
    READ = enum.auto()
    WRITE = enum.auto()


class Bits(enum.IntFlag):
    A = 1
    B = 4


class Status(models.TextChoices):
    OPEN = "open", "Open"
    API_KEY = "api", "Key"


class Order:
    """Something with an enumeration of its own."""

    class State(models.IntegerChoices):
        NEW = 1, "New"


class Coordinates(NamedTuple):
    north: Decimal
    east: Decimal = Decimal(0)


@dataclass
class Item:
    name: str
    price: Decimal = Decimal("0.00")
    tags: set[str] = field(default_factory=set)
    total: Decimal = field(init=False, default=Decimal(0))
    kind: ClassVar[str] = "item"


@dataclass(frozen=True, slots=True)
class Line:
    item: Item
    at: datetime | None = None


@dataclass
class Special(Item):
    extra: Any = None
    factor: InitVar[int] = 2

    def __post_init__(self, factor: int) -> None:
        SEEN.append("post_init")
        self.total = self.price * factor


@dataclass
class Mapped(dict[str, Any]):
    name: str = ""


@task(types="django")
def typed_echo(*args: Any, **kwargs: Any) -> Any:
    SEEN.append((args, kwargs))
    return {"args": args, "kwargs": kwargs}


@task(types="django")
async def typed_coroutine(*args: Any, **kwargs: Any) -> Any:
    SEEN.append((args, kwargs))
    return {"args": args, "kwargs": kwargs}


@task(types="django", missing="skip")
def typed_skip(*args: Any, **kwargs: Any) -> None:
    SEEN.append((args, kwargs))


@task
def untyped_echo(value: Any = None) -> Any:
    return value


@task(types="django", sensitive=("amount",))
def typed_secret(options: Any, amount: Any) -> None: ...
