"""UPDATE … RETURNING where the database has it, and the same promise where it has not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from django.core.exceptions import EmptyResultSet
from django.db import IntegrityError, connections, models, transaction
from django.db.models import sql

from .database_errors import is_duplicate

M = TypeVar("M", bound=models.Model)


def update_returns(using: str) -> bool:
    """Whether this database has UPDATE … RETURNING."""
    return connections[using].vendor in ("postgresql", "sqlite")


def insert_returns(using: str) -> bool:
    """Whether this database has INSERT … RETURNING."""
    return bool(connections[using].features.can_return_columns_from_insert)


def skipping_locked(rows: models.QuerySet[M]) -> models.QuerySet[M]:
    """Lock these rows and leave out those that others have locked, where the database can."""
    features = connections[rows.db].features
    if not features.has_select_for_update_skip_locked:
        return rows
    of = ("self",) if features.has_select_for_update_of else ()
    return rows.select_for_update(skip_locked=True, of=of)


def locked(rows: models.QuerySet[M]) -> models.QuerySet[M]:
    """Those of these rows that nobody else has locked, locked until the end of the transaction.

    Where a database has no locks of rows, SQLite, they are the rows as the next write finds them:
    the transaction that writes has the whole database, and sees what it sees until its end.
    """
    if not connections[rows.db].features.has_select_for_update_skip_locked:
        return rows
    ids = list(skipping_locked(rows).values_list("pk", flat=True))
    # The condition stands in each statement: no reader has to know what locks promise.
    return rows.filter(pk__in=ids)


def update_returning(
    rows: models.QuerySet[M], values: dict[str, Any], only: Sequence[str] = ()
) -> list[M]:
    """Update the rows and return them as they are now, in no particular order.

    only: the names of the fields to read now, besides the primary key; all if there are none.

    One statement on PostgreSQL and SQLite. MySQL and MariaDB have no UPDATE … RETURNING: there
    the rows are locked and read first, in one transaction with the update.
    """
    every = rows.model._base_manager.using(rows.db)
    if update_returns(rows.db):
        query: Any = rows.query.chain(sql.UpdateQuery)
        query.clear_ordering(force=True)
        query.add_update_values(values)
        try:
            statement, params = query.get_compiler(using=rows.db).as_sql()
        except EmptyResultSet:
            # A condition that holds for no row, such as one of no ids.
            return []
        quote: Any = connections[rows.db].ops.quote_name
        fields = rows.model._meta.concrete_fields
        names = ", ".join(
            quote(field.column)
            for field in fields
            if not only or field.primary_key or field.attname in only
        )
        return list(every.raw(f"{statement} RETURNING {names}", tuple(params)))
    with transaction.atomic(rows.db):
        found = list(rows.select_for_update().values_list("pk", flat=True))
        by_pk = every.filter(pk__in=found)
        by_pk.update(**values)
        by_pk = by_pk.only(*only) if only else by_pk
        return list(by_pk) if found else []


def insert_returning(row: M, name: str, using: str, unless_taken: str = "") -> bool:
    """INSERT the row and read back what the database gave it for the field `name`.

    unless_taken: the columns of a unique index, as ON CONFLICT takes them. False if a row is there
    that has these values: nothing was written then. Every other error is raised: INSERT IGNORE
    would hide them. `bulk_create` does not tell, and asking would cost another statement for every
    job with a dedup key.
    """
    connection = connections[using]
    statement, params = _insert_sql(row, using)
    if unless_taken and connection.vendor == "mysql":
        return _inserted(statement, params, using)
    if unless_taken:
        statement = f"{statement} ON CONFLICT {unless_taken} DO NOTHING"
    if not insert_returns(using):
        with connection.cursor() as cursor:
            cursor.execute(statement, params)
            return bool(cursor.rowcount)
    quote = connection.ops.quote_name
    columns: list[Any] = [field.column for field in (row._meta.pk, row._meta.get_field(name))]  # type: ignore[union-attr]
    returned = f"{statement} RETURNING {', '.join(map(quote, columns))}"
    inserted = list(type(row)._base_manager.using(using).raw(returned, params))
    for copy in inserted:
        setattr(row, name, getattr(copy, name))
    return bool(inserted)


def sharing(rows: models.QuerySet[M], skips_locked: bool = False) -> list[M]:
    """These rows, which nobody can change before the end of the transaction; others may read them
    so, too.

    skips_locked: leave out those that somebody is changing, and do not wait for them.

    Where a database has no locks of rows, SQLite, a later write of the transaction fails if anybody
    has written since.
    """
    lock = {"postgresql": " FOR SHARE", "mysql": " LOCK IN SHARE MODE"}
    statement, params = rows.order_by().query.get_compiler(using=rows.db).as_sql()
    query = rows.model._base_manager.using(rows.db).raw
    suffix = lock.get(connections[rows.db].vendor, "")
    if suffix and skips_locked:
        suffix += " SKIP LOCKED"
    return list(query(statement + suffix, params))


def current(rows: models.QuerySet[M]) -> M | None:
    """One of these rows as it is now, and not as it was when a transaction began to read.

    Above READ COMMITTED MySQL and MariaDB show a transaction the past, while its own writes meet
    the present: who looks for the row that was in its way would not find it. It is locked then,
    for reading: others may look too.
    """
    connection: Any = connections[rows.db]
    if not (connection.vendor == "mysql" and connection.in_atomic_block):
        return rows.first()
    if connection.isolation_level == "read committed":
        return rows.first()
    statement, params = rows.order_by().query.get_compiler(using=rows.db).as_sql()
    query = rows.model._base_manager.using(rows.db).raw
    return next(iter(query(f"{statement} LOCK IN SHARE MODE", params)), None)


def _inserted(statement: str, params: Any, using: str) -> bool:
    """MySQL and MariaDB know no ON CONFLICT; what a duplicate row raises there undoes nothing else.

    ON DUPLICATE KEY UPDATE says the same of a new row and of one that is there: Django asks its
    driver for the rows found and not for those changed.
    """
    try:
        with connections[using].cursor() as cursor:
            cursor.execute(statement, params)
    except IntegrityError as error:
        if not is_duplicate(error):
            raise
        return False
    return True


def _insert_sql(row: models.Model, using: str) -> tuple[str, Any]:
    model = type(row)
    query = sql.InsertQuery(model)
    fields = [field for field in model._meta.concrete_fields if field is not model._meta.auto_field]
    query.insert_values(fields, [row])
    [(statement, params)] = query.get_compiler(using=using).as_sql()
    return statement, params
