"""What is prepared in a session of PostgreSQL: done once, and made anew now and then."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha1
from importlib import import_module
from itertools import count
from math import inf
from types import SimpleNamespace
from typing import Any

from . import pooler
from .statement_texts import plan_for_good

# PostgreSQL keeps the plan that it made while a table was small, until statistics are gathered:
# reading all rows was the best way when the worker started, and is the worst a minute later.
REPLAN_AFTER = 5.0
# Where psycopg's connection has what is prepared in its session.
ATTRIBUTE = "bgtasks_prepared"


@dataclass(slots=True)
class Prepared:
    """What is prepared in a session.

    cursor: of psycopg, for it costs more to make than to use. planned: when the plans were last
    made anew, by the monotonic clock. names: of the statements that go without the cursor, and
    which `planned` each is of. values: what writes and reads their values. commit: seconds that the
    last commit took after its rows.
    """

    cursor: Any
    values: Any
    planned: float
    names: dict[str, tuple[bytes, float]] = field(default_factory=dict)
    commit: float = inf


@cache
def load_psycopg() -> Any:
    """What is used of psycopg, which Django has loaded; None if it uses psycopg2."""
    try:
        modules = [import_module(f"psycopg{name}") for name in ("", ".adapt", ".errors", ".pq")]
    except ImportError:
        return None
    return SimpleNamespace(**{k: v for module in modules for k, v in vars(module).items()})


def begin_preparing(connection: Any, faster: Callable[[Any], Any]) -> Prepared | None:
    """Note in a new session what is prepared there; None if nothing may be.

    faster: what makes a faster loader of times of Django's.
    """
    session, psycopg = connection.connection, load_psycopg()
    if psycopg is None or pooler.is_pooled(connection):
        return None
    cursor = psycopg.Cursor(session)
    number = cursor.adapters.types["timestamptz"].oid
    of_django = cursor.adapters.get_loader(number, psycopg.Format.TEXT)
    if of_django.timezone is not None:
        cursor.adapters.register_loader("timestamptz", faster(of_django))
    found = Prepared(cursor, psycopg.Transformer(cursor), time.monotonic())
    setattr(session, ATTRIBUTE, found)
    return found


def plan_anew(connection: Any, prepared: Prepared) -> None:
    """Have all statements of this session planned anew when they are used next."""
    connection.make_cursor(prepared.cursor).execute("DISCARD PLANS")
    prepared.planned = time.monotonic()


def prepare_statement(
    sql: str, width: int, session: Any, prepared: Prepared, by_id: bool
) -> Generator[Any, Any, bytes]:
    """Prepare a statement with so many parameters, and note its name, which is returned."""
    pgconn, psycopg = session.pgconn, load_psycopg()

    def result(expected: Any) -> Generator[Any, Any, None]:
        found = (yield from psycopg.generators.execute(pgconn))[-1]
        if found.status != expected:
            raise psycopg.error_from_result(found, encoding=session.info.encoding)

    if sql in prepared.names:
        # It compares its one plan with what others have cost while the table was small.
        pgconn.send_query(b"DEALLOCATE " + prepared.names[sql][0])
        yield from result(psycopg.ExecStatus.COMMAND_OK)
    numbers = count(1)
    text = re.sub("%[s%]", lambda m: f"${next(numbers)}" if m[0] == "%s" else "%", sql)
    # No other statement has it, should a pooler give this session to others.
    name = f"bgtasks_{sha1(text.encode(), usedforsecurity=False).hexdigest()}".encode()
    pgconn.send_prepare(name, text.encode())
    yield from result(psycopg.ExecStatus.COMMAND_OK)
    if by_id:
        pgconn.send_query(plan_for_good(name, width))
        yield from result(psycopg.ExecStatus.TUPLES_OK)
    prepared.names[sql] = name, prepared.planned
    return name


def run_by_cursor(
    sql: str, params: Sequence[Any], connection: Any, prepared: Prepared
) -> list[Any]:
    """Run a statement by psycopg's cursor, which prepares it."""
    cursor, session = connection.make_cursor(prepared.cursor), connection.connection
    # Django has psycopg prepare nothing; here it prepares at the first use.
    before, session.prepare_threshold = session.prepare_threshold, 0
    try:
        cursor.execute(sql, params)
        return list(cursor.fetchall())
    finally:
        session.prepare_threshold = before
