"""Tasks that leave their session otherwise than they found it, and the tasks beside them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from django.db import connection, transaction

from django_bgtasks import Retry, task
from django_bgtasks.jobs import execute
from tests.app.models import Note

Kind = Callable[[], object]
LEFT_OPEN: dict[str, Kind] = {}
CHANGED: dict[str, Kind] = {}
VENDORS: dict[str, frozenset[str]] = {}
ALL = ("sqlite", "postgres", "mysql")
ONCE = Retry(max_attempts=1)
left: list[object] = []
MANY_ROWS = "WITH RECURSIVE many(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM many WHERE n < 10000)"


def leaves_open(*vendors: str) -> Callable[[Kind], Kind]:
    return _kind(LEFT_OPEN, vendors)


def changes(*vendors: str) -> Callable[[Kind], Kind]:
    return _kind(CHANGED, vendors)


def _kind(kinds: dict[str, Kind], vendors: tuple[str, ...]) -> Callable[[Kind], Kind]:
    def add(function: Kind) -> Kind:
        kinds[function.__name__] = function
        VENDORS[function.__name__] = frozenset(vendors or ALL)
        return function

    return add


def sql(*statements: str) -> None:
    """Through Django's cursor."""
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def raw() -> Any:
    """The driver's own connection."""
    connection.ensure_connection()
    return connection.connection


def write(text: str = "lost") -> None:
    Note.objects.create(text=text)


@leaves_open()
def begins() -> None:
    sql("BEGIN")
    write()


@leaves_open("sqlite", "postgres")
def begins_and_writes_nothing() -> None:
    sql("BEGIN")


@leaves_open("sqlite", "postgres")
def begins_at_the_driver() -> None:
    raw().execute("BEGIN")
    write()


@leaves_open("sqlite", "postgres")
def begins_and_breaks_it() -> None:
    sql("BEGIN")
    try:
        sql("SELECT no_such_column FROM no_such_table")
    except Exception:
        write_quietly()


def write_quietly() -> None:
    try:
        write()
    except Exception:
        left.append("as expected")


@leaves_open()
def turns_autocommit_off() -> None:
    transaction.set_autocommit(False)
    write()


@leaves_open()
def enters_a_block() -> None:
    block = transaction.atomic()
    block.__enter__()
    left.append(block)
    write()


@leaves_open()
def enters_two_blocks_and_a_savepoint() -> None:
    for _ in range(2):
        block = transaction.atomic()
        block.__enter__()
        left.append(block)
    transaction.savepoint()
    write()


@leaves_open("postgres")
def turns_the_drivers_autocommit_off() -> None:
    raw().autocommit = False
    write()


@leaves_open("postgres")
def enters_the_drivers_transaction() -> None:
    block = raw().transaction()
    block.__enter__()
    left.append(block)
    write()


@leaves_open("postgres")
def leaves_a_copy_half_done() -> None:
    copy = raw().cursor().copy("COPY tests_app_note (text) FROM STDIN")
    copy.__enter__().write_row(("lost",))
    left.append(copy)


@leaves_open("postgres")
def prepares_a_server_side_cursor_in_a_transaction() -> None:
    sql("BEGIN", "DECLARE c CURSOR FOR SELECT 1", "FETCH 1 FROM c")
    write()


@leaves_open("mysql")
def turns_autocommit_off_in_sql() -> None:
    sql("SET autocommit = 0")
    write()


@leaves_open("mysql")
def begins_at_the_driver_of_mysql() -> None:
    raw().query("START TRANSACTION")
    write()


@leaves_open("sqlite")
def begins_a_savepoint_outside_of_a_transaction() -> None:
    sql("SAVEPOINT mine")
    write()


@leaves_open("sqlite")
def lets_the_driver_begin() -> None:
    raw().isolation_level = "DEFERRED"
    write()


@changes("postgres")
def sets_a_role() -> None:
    sql("SET ROLE bgtasks_nobody")


@changes("postgres")
def sets_the_session_authorization() -> None:
    sql("SET SESSION AUTHORIZATION bgtasks_nobody")


@changes("postgres")
def sets_a_role_at_the_driver() -> None:
    raw().execute("SET ROLE bgtasks_nobody")


@changes("postgres")
def goes_to_an_empty_schema() -> None:
    sql("CREATE SCHEMA IF NOT EXISTS tenant1; SET search_path TO tenant1")


@changes("postgres")
def goes_to_a_schema_with_tables_of_its_own() -> None:
    """As with an app that each tenant has: what it finds there are other rows."""
    sql(
        "CREATE SCHEMA IF NOT EXISTS tenant2",
        "CREATE TABLE IF NOT EXISTS tenant2.tests_app_note "
        "(LIKE public.tests_app_note INCLUDING ALL)",
        "CREATE TABLE IF NOT EXISTS tenant2.django_bgtasks_job "
        "(LIKE public.django_bgtasks_job INCLUDING ALL)",
        "SELECT set_config('search_path', 'tenant2', false)",
    )


@changes("postgres")
def puts_temporary_tables_in_front() -> None:
    sql(
        "CREATE TEMP TABLE tests_app_note (LIKE public.tests_app_note INCLUDING ALL)",
        "CREATE TEMP TABLE django_bgtasks_job (LIKE public.django_bgtasks_job INCLUDING ALL)",
    )


@changes("postgres")
def makes_the_session_read_only() -> None:
    sql("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")


@changes("postgres")
def makes_the_drivers_transactions_read_only() -> None:
    raw().read_only = True


@changes("postgres")
def discards_all() -> None:
    sql("DISCARD ALL")


@changes("postgres")
def deallocates_all_at_the_driver() -> None:
    raw().execute("DEALLOCATE ALL")


@changes("postgres")
def allows_a_millisecond_for_a_statement() -> None:
    sql("SET statement_timeout = 1")


@changes("postgres")
def has_rows_as_dictionaries() -> None:
    from psycopg.rows import dict_row

    raw().row_factory = dict_row


@changes("postgres")
def takes_a_lock_for_its_session() -> None:
    sql("SELECT pg_advisory_lock(4711)")


@changes("postgres")
def ends_its_own_backend() -> None:
    try:
        sql("SELECT pg_terminate_backend(pg_backend_pid())")
    except Exception:
        left.append("as expected")


@changes()
def closes_the_drivers_connection() -> None:
    raw().close()


@changes()
def closes_its_connection() -> None:
    connection.close()


@changes("postgres")
def closes_the_socket() -> None:
    os.close(raw().fileno())


@changes("sqlite")
def allows_only_queries() -> None:
    sql("PRAGMA query_only = 1")


@changes("sqlite")
def puts_temporary_tables_in_front_of_sqlite() -> None:
    sql(
        "CREATE TEMP TABLE tests_app_note AS SELECT * FROM main.tests_app_note WHERE 0",
        "CREATE TEMP TABLE django_bgtasks_job AS SELECT * FROM main.django_bgtasks_job WHERE 0",
    )


@changes("sqlite")
def leaves_a_query_half_read() -> None:
    """Who was interested in the first row only, and has the rest still in hand."""
    cursor = connection.cursor()
    cursor.execute(f"{MANY_ROWS} SELECT n FROM many, django_bgtasks_job")
    cursor.fetchone()
    left.append(cursor)


@changes("sqlite")
def leaves_a_query_half_read_at_the_driver() -> None:
    left.append(raw().execute(f"{MANY_ROWS} SELECT n FROM many, django_bgtasks_job"))


@changes("sqlite")
def keeps_the_lock_of_the_database() -> None:
    sql("PRAGMA locking_mode = EXCLUSIVE")


@changes("sqlite")
def waits_for_no_lock() -> None:
    sql("PRAGMA busy_timeout = 0")


@changes()
def lets_no_statement_through() -> None:
    """As libraries do that forbid queries in templates, and this one is never left."""
    block = connection.execute_wrapper(refuse)
    block.__enter__()
    left.append(block)


def refuse(*args: Any) -> None:
    raise LookupError("no queries here")


@changes("mysql")
def goes_to_another_database() -> None:
    sql("CREATE DATABASE IF NOT EXISTS bgtasks_elsewhere", "USE bgtasks_elsewhere")


@changes("mysql")
def makes_the_session_read_only_on_mysql() -> None:
    sql("SET SESSION TRANSACTION READ ONLY")


@changes("mysql")
def locks_tables() -> None:
    sql("LOCK TABLES tests_app_note READ")


@changes("mysql")
def takes_a_lock_by_name() -> None:
    sql("SELECT GET_LOCK('bgtasks_test', 0)")


def opens_a_cursor() -> None:
    with connection.cursor():
        pass


def writes_no_rows() -> None:
    with connection.cursor() as cursor:
        cursor.executemany("INSERT INTO tests_app_note (text) VALUES (%s)", [])


LOCK_LIMITS = {
    "postgresql": "SET lock_timeout = 30000",
    "mysql": "SET SESSION lock_wait_timeout = 30",
    "sqlite": "PRAGMA query_only = 0",
}
FOR_CUSTOMER_7 = {
    "SET": "SET app.customer = '7'",
    "set_config": "SELECT set_config('app.customer', '7', false)",
    "later": "SELECT 1; SET SESSION app.customer TO '7'",
    "variable": "SET @customer = '7'",
}
SHOW_CUSTOMER = {
    "postgresql": "SELECT current_setting('app.customer', true)",
    "mysql": "SELECT @customer",
}
SHOW_LOCK_LIMIT = {
    "postgresql": "SHOW lock_timeout",
    "mysql": "SELECT @@SESSION.lock_wait_timeout",
    "sqlite": "PRAGMA query_only",
}
EMPTY_HANDED = {kind.__name__: kind for kind in (opens_a_cursor, writes_no_rows)}


@task
def leaves(name: str) -> str:
    """Leaves a transaction open."""
    LEFT_OPEN[name]()
    return str(os.getpid())


@task(atomic=True)
def leaves_atomically(name: str) -> None:
    """The same within the transaction that the worker has begun."""
    LEFT_OPEN[name]()


@task
def leaves_and_raises(name: str) -> None:
    LEFT_OPEN[name]()
    raise LookupError("no such customer")


@task
def sets(name: str) -> str:
    """Changes its session."""
    CHANGED[name]()
    return str(os.getpid())


@task
def writes(text: str) -> str:
    Note.objects.create(text=text)
    return str(os.getpid())


@task
def writes_in_a_block(text: str) -> str:
    with transaction.atomic():
        Note.objects.create(text=text)
    return str(os.getpid())


@task(atomic=True)
def sets_atomically(name: str) -> None:
    CHANGED[name]()


@task(atomic=True)
def waits_half_a_minute_for_locks() -> None:
    """A setting that the ledger can live with; nobody ends the session for it."""
    sql(LOCK_LIMITS[connection.vendor])


@task(atomic=True)
def waits_for_locks_after_the_commit() -> None:
    """The same, by what runs when the worker has committed."""
    transaction.on_commit(waits_half_a_minute_for_locks.func)


@task
def is_for_customer_7(name: str) -> None:
    """What rules of the database about rows ask for, and what no list of settings has."""
    sql(FOR_CUSTOMER_7[name])


@task
def whose_rows_are_seen() -> str:
    with connection.cursor() as cursor:
        cursor.execute(SHOW_CUSTOMER[connection.vendor])
        return str(cursor.fetchone()[0] or "")


@task
def lock_limit() -> str:
    with connection.cursor() as cursor:
        cursor.execute(SHOW_LOCK_LIMIT[connection.vendor])
        return str(cursor.fetchone()[0])


@task(atomic=True)
def sends_nothing(name: str) -> None:
    """Has cursors and lists that turn out to be empty."""
    EMPTY_HANDED[name]()


@task(atomic=True)
def commits_then_fails() -> None:
    Note.objects.create(text="row")
    transaction.on_commit(lambda: 1 / 0)
    transaction.on_commit(lambda: write("second hook"))


@task(atomic=True)
def ends_its_transaction(statement: str) -> None:
    write("too early")
    sql(statement)


@task
def dies_before_its_settlement() -> None:
    """It has run, and its process ends before that can be written, each time."""
    for name in ("settle", "settle_many"):
        setattr(execute, name, lambda *args, **options: os._exit(9))


@task
async def dies_before_its_settlement_async() -> None:
    dies_before_its_settlement.func()


@task(retry=ONCE, timeout=0.5)
def short_and_last() -> str:
    """It has no further attempt, and little time."""
    return str(os.getpid())


@task(retry=ONCE, timeout=0.5)
def short_and_raises() -> None:
    raise LookupError("no such customer")


@task(retry=ONCE, timeout=0.5)
async def short_and_last_async() -> str:
    return str(os.getpid())


@task
def refused() -> None:
    """A trigger of the database does not let it succeed."""
