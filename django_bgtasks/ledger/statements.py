"""The statements of the hot path, without the ORM: insert, claim and settle on PostgreSQL and
SQLite.

The ORM takes longer to write them than the database to run them. Their texts are in
statement_texts.py; a Dialect has what the two databases say differently. They promise the same as
the ORM's forms in lifecycle.py, and one suite of tests holds for both.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache, lru_cache, partial
from math import inf
from typing import Any
from uuid import UUID

from django.db import DatabaseError, connections, models
from django.db.models.base import ModelState
from django.db.models.expressions import Col

from ..core import clock
from ..core.payload import to_json
from ..core.states import Transition
from ..models import Job
from . import pooler
from .prepared import (
    ATTRIBUTE,
    REPLAN_AFTER,
    Prepared,
    begin_preparing,
    load_psycopg,
    plan_anew,
    prepare_statement,
    run_by_cursor,
)
from .statement_texts import (
    DEFAULTS,
    FIELDS,
    READ,
    TABLE,
    claim_sql,
    insert_sql,
    settle_sql,
)

BLANK = {"enqueued_at": None, **DEFAULTS}
# So many seconds a commit may take to be short: a message is on its way to a worker as long.
SHORT = 0.002
CLAIMED = {"state": Transition.CLAIM.target.value, "finished_at": None, "result": None}
Converters = Mapping[int, Callable[[Any], Any]]
Make = Callable[[Any], Any]


class Meanwhile(threading.local):
    """Of each thread: what is called while its next statement is under way.

    It raises nothing, and does not ask the database: that would wait for the statement.
    calls: while the database executes it. committing: when it has returned rows and is committed,
    if that is the end of its transaction and is going to be short; else never.
    """

    def __init__(self) -> None:
        self.calls = deque[Callable[[], object]]()
        self.committing: Callable[[], object] | None = None
        self._is_under_way = False
        self._later = deque[Callable[[], object]]()

    def run(self) -> None:
        """Call it now."""
        while self.calls:
            self.calls.popleft()()

    def clear(self) -> None:
        """Call nothing of what was to be called."""
        self.calls.clear()
        self.committing = None

    def later(self, call: Callable[[], object]) -> None:
        """Call it now; while a statement has the session, after that: a log may be kept there."""
        if self._is_under_way:
            self._later.append(call)
        else:
            call()

    def __enter__(self) -> None:
        """From here on a statement has the session for itself."""
        self._is_under_way = True

    def __exit__(self, *args: object) -> None:
        self._is_under_way = False
        while self._later:
            self._later.popleft()()


meanwhile = Meanwhile()


class Dialect:
    """The hot statements as SQLite takes them; a subclass has what PostgreSQL says differently.

    now: its clock. state: the column in a condition, such that no index of it is used: each row is
    found by its id. By the partial index of a state, which PostgreSQL takes for shorter, a claim
    would read all the jobs that wait. calls: rows of one JSON array. ends: rows `done` of (id,
    claims, result).
    """

    now = "STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'NOW')"
    state = "+state"
    calls = "json_each(%s)"
    ends = (
        "(SELECT value ->> 0 AS id, value ->> 1 AS claims, value ->> 2 AS result "
        "FROM json_each(%s)) AS done"
    )

    def cast(self, value: str, kind: str) -> str:
        """The value as one of this type. SQLite's columns have the types that their values have."""
        return value

    def any_of(self, kind: str) -> str:
        """The condition to be one of the values of array()."""
        return "IN (SELECT value FROM json_each(%s))"

    def array(self, values: Iterable[str | None]) -> str:
        """Values of any number as one parameter."""
        return json.dumps(list(values))

    def array_of_ends(self, done: Sequence[tuple[Job, Any]]) -> list[str]:
        """The parameters of `ends`."""
        ends = [(job, None if result is None else to_json(result)) for job, result in done]
        return [json.dumps([[job.pk.hex, job.claims, result] for job, result in ends])]

    def columns(self, rows: Sequence[tuple[Any, ...]], width: int = 2) -> list[str]:
        """The parameters of rows of so many columns."""
        return [json.dumps(rows)]

    def run(
        self,
        sql: str,
        params: Sequence[Any],
        using: str,
        *,
        searches: bool = False,
        by_id: bool = False,
        make: Make = tuple,
    ) -> list[Any]:
        """Execute the statement, and return what is made of its rows. See run_prepared()."""
        meanwhile.run()
        return [make(row) for row in run_plainly(sql, params, connections[using])]

    def has_old_plans(self, using: str) -> bool:
        """Whether a statement that searches is to be planned anew soon; it is, by the next one."""
        return False

    def insert(self, job: Job, if_free: bool, using: str) -> bool | None:
        """Insert the row. False if it was left out, for its dedup slot is taken. None if it has an
        expression, which is for the ORM to write; then nothing was done.
        """
        names = _own_values(job)
        if not _are_values(job, names):
            return None
        rows = self.run(insert_sql(self, names, if_free), column_values(job, names, using), using)
        for (moment,) in rows:
            convert = _converters(using).get(READ.index("enqueued_at"))
            job.enqueued_at = moment if convert is None else convert(moment)
        return bool(rows)

    def claim(
        self,
        job_ids: Sequence[UUID],
        worker: UUID,
        using: str,
        queues: Sequence[str],
        backends: Sequence[str],
    ) -> list[Job]:
        """Claim those of these jobs that are queued, only of these queues and these backends."""
        only = [_array_of(self, tuple(names)) for names in (queues, backends) if names]
        params = [worker.hex, self.array([job_id.hex for job_id in job_ids]), *only]
        sql, make = claim_sql(self, bool(queues), bool(backends)), partial(claimed_job, using=using)
        return self.run(sql, params, using, by_id=True, make=make)

    def settle(self, done: Sequence[tuple[Job, Any]], worker: UUID, using: str) -> set[UUID]:
        """Settle as succeeded those of these attempts whose claim still holds."""
        params = [*self.array_of_ends(done), worker.hex]
        rows = self.run(settle_sql(self), params, using, by_id=True)
        return {uuid_of(pk) for (pk,) in rows}


@lru_cache(maxsize=64)
def _array_of(dialect: Dialect, names: tuple[str, ...]) -> str:
    return dialect.array(names)


class PostgreSQL(Dialect):
    """Each statement is prepared once a connection, and has one plan."""

    now = "STATEMENT_TIMESTAMP()"
    state = "state || ''"
    calls = "json_array_elements(%s::json) AS calls(value)"
    ends = (
        "unnest((SELECT %s::uuid[]), (SELECT %s::int[]), (SELECT %s::text[])) "
        "AS done(id, claims, result)"
    )

    def cast(self, value: str, kind: str) -> str:
        """By name: what is prepared has no types but these."""
        return f"({value})::{kind}"

    def any_of(self, kind: str) -> str:
        return f"= ANY((SELECT %s::{kind}[])::{kind}[])"

    def array(self, values: Iterable[str | None]) -> str:
        """An array as PostgreSQL reads it; psycopg takes several times longer to write one."""
        texts = ["NULL" if value is None else f'"{value}"' for value in values]
        array = ",".join(texts)
        if "\\" in array or array.count('"') != 2 * (len(texts) - texts.count("NULL")):
            # Mostly there is nothing to be quoted in them, and then no value has to be looked at.
            quoted = [text[1:-1].replace("\\", "\\\\").replace('"', '\\"') for text in texts]
            pairs = zip(texts, quoted, strict=True)
            array = ",".join(text if text == "NULL" else f'"{value}"' for text, value in pairs)
        return "{" + array + "}"

    def array_of_ends(self, done: Sequence[tuple[Job, Any]]) -> list[str]:
        results = (None if result is None else to_json(result) for _, result in done)
        return [*self.columns([(job.pk.hex, job.claims) for job, _ in done]), self.array(results)]

    def columns(self, rows: Sequence[tuple[Any, ...]], width: int = 2) -> list[str]:
        return [self.array(str(row[place]) for row in rows) for place in range(width)]

    def run(
        self,
        sql: str,
        params: Sequence[Any],
        using: str,
        *,
        searches: bool = False,
        by_id: bool = False,
        make: Make = tuple,
    ) -> list[Any]:
        """Prepared; the plan of a statement that searches is made anew now and then."""
        connection = connections[using]
        return run_prepared(sql, params, connection, searches=searches, by_id=by_id, make=make)

    def has_old_plans(self, using: str) -> bool:
        prepared = getattr(connections[using].connection, ATTRIBUTE, None)
        if prepared is None or time.monotonic() - prepared.planned < REPLAN_AFTER / 2:
            return False
        prepared.planned = -inf
        return True


DIALECTS = {"postgresql": PostgreSQL(), "sqlite": Dialect()}


def dialect_of(using: str) -> Dialect | None:
    """The hot statements for this database; None where only the ORM's forms are."""
    return DIALECTS.get(connections[using].vendor)


def uuid_of(value: Any) -> UUID:
    """An id as the model has it: SQLite returns a text."""
    return value if isinstance(value, UUID) else UUID(value)


def unsaved(**values: Any) -> Job:
    """A job that has no row yet: Job(**values) with a new id."""
    job = _empty()
    job.__dict__.update(BLANK, id=clock.new_id(), **values)
    return job


def run_prepared(
    sql: str,
    params: Sequence[Any],
    connection: Any,
    *,
    searches: bool = False,
    by_id: bool = False,
    make: Make = tuple,
) -> list[Any]:
    """Run a statement that is prepared once a session, and is sent by the extended protocol.

    Django's cursors write the values into the text, which PostgreSQL then has to parse and to plan
    again each time. A site's wrappers and its log of queries see these statements like all others.
    searches, by_id: the statement looks for rows; its plan is made anew every REPLAN_AFTER seconds.
    by_id: in one table by their ids; it is planned such that it reads no others. make: what the
    rows are made into, mostly while the database is still about to commit.
    """
    connection.ensure_connection()
    prepared = None if connection.queries_logged else _prepared(connection)
    if prepared is None:
        return [make(row) for row in run_plainly(sql, params, connection)]
    if (searches or by_id) and time.monotonic() - prepared.planned > REPLAN_AFTER:
        plan_anew(connection, prepared)
    if _is_alone(connection):
        try:
            with meanwhile, connection.wrap_database_errors, connection.connection.lock:
                return _run_alone(sql, params, connection.connection, prepared, by_id, make)
        except DatabaseError as error:
            if not pooler.is_pooler_error(error):
                raise
            # Somebody has had the session forget all, as psycopg does after a rollback.
            prepared.names.clear()
    try:
        return [make(row) for row in run_by_cursor(sql, params, connection, prepared)]
    except DatabaseError as error:
        if not pooler.is_pooler_error(error):
            raise
        # It came after the first look, as with a failover. Nothing was executed.
        pooler.remember(connection)
        delattr(connection.connection, ATTRIBUTE)
        if connection.in_atomic_block or not connection.get_autocommit():
            raise
        return [make(row) for row in run_plainly(sql, params, connection)]


def _is_alone(connection: Any) -> bool:
    """Whether a statement is a transaction of its own here, and nobody is to see it."""
    session, psycopg = connection.connection, load_psycopg()
    return (
        not [one for one in connection.execute_wrappers if not hasattr(one, "only_notes")]
        and session.autocommit
        and session.pgconn.transaction_status == psycopg.TransactionStatus.IDLE
        and session.pgconn.pipeline_status == psycopg.PipelineStatus.OFF
        and psycopg.Pipeline.is_supported()
    )


def _run_alone(
    sql: str, params: Sequence[Any], session: Any, prepared: Prepared, by_id: bool, make: Make
) -> list[Any]:
    """Without a cursor: it and Django's around it take longer than the rest of a claim."""
    pgconn, values, psycopg = session.pgconn, prepared.values, load_psycopg()

    def exchange() -> Generator[Any, Any, Any]:
        name, planned = prepared.names.get(sql, (b"", None))
        if planned != prepared.planned:
            name = yield from prepare_statement(sql, len(params), session, prepared, by_id)
        texts = values.dump_sequence(params, [psycopg.PyFormat.TEXT] * len(params))
        pgconn.enter_pipeline_mode()
        pgconn.send_query_prepared(name, texts)
        # The rows come at once, and not with the end of the commit, which takes as long again.
        pgconn.send_flush_request()
        pgconn.pipeline_sync()
        meanwhile.run()
        result = (yield from psycopg.generators.execute(pgconn))[-1]
        committing, start = meanwhile.committing, clock.monotonic()
        try:
            rows = load(result)
            if rows and committing is not None and prepared.commit < SHORT:
                committing()
        finally:
            yield from _read_end(session)
        if rows and committing is not None:
            prepared.commit = clock.monotonic() - start
        return rows

    def load(result: Any) -> list[Any]:
        if result.status != psycopg.ExecStatus.TUPLES_OK:
            raise psycopg.error_from_result(result, encoding=session.info.encoding)
        values.set_pgresult(result)
        rows: list[Any] = values.load_rows(0, result.ntuples, make)
        values.set_pgresult(None)
        return rows

    try:
        rows: list[Any] = session.wait(exchange())
    finally:
        if pgconn.pipeline_status != psycopg.PipelineStatus.OFF:
            # It was interrupted, and what comes next would be taken for the answer to another one.
            session.close()
    return rows


def _read_end(session: Any) -> Generator[Any, Any, None]:
    """Wait for the commit of a statement whose rows were read. Raises what refuses it."""
    pgconn, psycopg, refusal = session.pgconn, load_psycopg(), None
    # A libpq before 16.2 does not tell of the end after a refusal.
    while found := (yield from psycopg.generators.execute(pgconn)):
        if found[-1].status == psycopg.ExecStatus.PIPELINE_SYNC:
            pgconn.exit_pipeline_mode()
            break
        refusal = found[-1]
    if refusal is not None:
        raise psycopg.error_from_result(refusal, encoding=session.info.encoding)
    if not found:
        raise psycopg.OperationalError("It is not known whether the statement was committed.")


def run_plainly(sql: str, params: Sequence[Any], connection: Any) -> list[Any]:
    """Run a statement by Django's cursor, planned each time."""
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return list(cursor.fetchall())


def _prepared(connection: Any) -> Prepared | None:
    """What is prepared in this session; None if nothing may be."""
    connection.validate_thread_sharing()
    found: Prepared | None = getattr(connection.connection, ATTRIBUTE, None)
    return found or begin_preparing(connection, _faster)


@cache
def _faster(of_django: Any) -> Any:
    """What reads times as this loader of Django's does, in a quarter of the time."""

    class Loader(of_django):  # type: ignore[misc]
        def load(self, data: Any) -> Any:
            try:
                return datetime.fromisoformat(str(data, "ascii")).astimezone(self.timezone)
            except ValueError:
                # Such as infinity.
                return super().load(data)

    return Loader


def _own_values(job: Job) -> tuple[str, ...]:
    """The fields of which this row has a value of its own."""
    row = job.__dict__
    return "id", *[name for name, default in DEFAULTS.items() if row[name] != default]


def _are_values(job: Job, names: Sequence[str]) -> bool:
    """Whether none of these fields has an expression."""
    row = job.__dict__
    return not [name for name in names if hasattr(row[name], "resolve_expression")]


def column_values(job: Job, names: Sequence[str], using: str) -> list[Any]:
    """The values of these fields as the driver takes them."""
    row = job.__dict__
    return [_driver_value(FIELDS[name], row[name], using) for name in names]


def _driver_value(field: Any, value: Any, using: str) -> Any:
    if value is None:
        return None
    if isinstance(field, models.JSONField):
        return to_json(value)
    if isinstance(value, str):
        # A state is an enumeration, of which a driver would take the name.
        return str.__str__(value)
    if isinstance(value, int | float):
        return value
    if isinstance(value, UUID):
        return value.hex
    return field.get_db_prep_save(value, connections[using])


def claimed_job(values: Sequence[Any], using: str) -> Job:
    """The claimed job whose columns READ the driver has returned."""
    job = job_of_row(values, READ, using)
    job.__dict__.update(CLAIMED)
    return job


def job_of_row(values: Sequence[Any], names: Sequence[str], using: str) -> Job:
    """The job of which the driver has returned these columns. Others are read if they are used."""
    row = list(values)
    for place, convert in _converters(using, names).items():
        row[place] = convert(row[place])
    job = _empty()
    job._state.adding, job._state.db = False, using
    job.__dict__.update(zip(names, row, strict=True))
    return job


def _empty() -> Job:
    """A job without fields, which its maker sets.

    Django makes one in three times the time; the ledger's own rows have no other makers than us.
    """
    job = Job.__new__(Job)
    job._state = ModelState()
    return job


@cache
def _converters(using: str, names: Sequence[str] = READ) -> Converters:
    """By their places: the columns that the driver does not return as the model has them."""
    compiler = Job.objects.using(using).query.get_compiler(using=using)
    found: dict[int, Any] = compiler.get_converters([Col(TABLE, FIELDS[name]) for name in names])
    return {place: _chain(chain, column, using) for place, (chain, column) in found.items()}


def _chain(steps: Sequence[Any], column: Any, using: str) -> Callable[[Any], Any]:
    connection = connections[using]

    def convert(value: Any) -> Any:
        for step in steps:
            value = step(value, column, connection)
        return value

    return convert
