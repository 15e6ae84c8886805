"""Empty the tables after a test that commits, for a fraction of what Django's `flush` costs.

Django truncates every table, and makes all content types and permissions anew. Here only rows that
are there are deleted, and those two tables stay: nothing in a test changes them.
"""

from __future__ import annotations

from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test import TransactionTestCase

from django_bgtasks.ledger import identity

STAY = {Permission._meta.db_table, ContentType._meta.db_table, "django_migrations"}
MANY = 500


def install() -> None:
    """Have it done after each test, those of pytest-django's `transactional_db` among them."""
    TransactionTestCase._fixture_teardown = _fixture_teardown  # type: ignore[attr-defined]


def _fixture_teardown(self: TransactionTestCase) -> None:
    for name in self._databases_names(include_mirrors=False):  # type: ignore[attr-defined]
        empty_tables(connections[name])
    identity.forget()


def empty_tables(connection: BaseDatabaseWrapper) -> None:
    """Delete all rows but those of content types and permissions."""
    tables = connection.introspection.django_table_names(only_existing=True, include_views=False)
    quoted = [connection.ops.quote_name(table) for table in sorted({*tables} - STAY)]
    large = []
    with connection.constraint_checks_disabled(), transaction.atomic(using=connection.alias):
        for name in quoted:
            with connection.cursor() as cursor:
                cursor.execute(f"DELETE FROM {name}")
                if cursor.rowcount > MANY:
                    large.append(name)
    if large and connection.vendor == "postgresql":
        # So many dead rows would slow the tests behind this one down. In the transaction that
        # deleted them PostgreSQL refuses this.
        with connection.cursor() as cursor:
            cursor.execute(f"TRUNCATE {', '.join(large)} CASCADE")
