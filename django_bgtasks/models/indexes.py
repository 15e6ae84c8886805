"""Indexes over a part of a table that are there on every database."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage
from django.db import models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


class _Partial:
    """Over a part of the table where the database can do that, over all of it elsewhere.

    Django leaves what has a condition out on MySQL and MariaDB; the ledger needs it.
    """

    def _get_condition_sql(self, model: Any, schema_editor: BaseDatabaseSchemaEditor) -> str | None:
        if not schema_editor.connection.features.supports_partial_indexes:
            return None
        return super()._get_condition_sql(model, schema_editor)  # type: ignore[misc,no-any-return]

    def check(self, model: Any, connection: Any) -> list[CheckMessage]:
        """Without the warning that the condition is left out: that is what this class is for."""
        messages = super().check(model, connection)  # type: ignore[misc]
        return [message for message in messages if message.id not in ("models.W036", "models.W037")]


class PartialIndex(_Partial, models.Index):
    """A partial index where the database has them, a plain one elsewhere."""


class WaitingIndex(PartialIndex):
    """A partial index of those that wait for the one thing that its first field says.

    Where the condition says that too, the field is left out. PostgreSQL before 18 finds the rows of
    a key only by the columns that come first, and what the condition has is none of them.
    """

    def create_sql(
        self, model: Any, schema_editor: BaseDatabaseSchemaEditor, using: str = "", **kwargs: Any
    ) -> Any:
        if not schema_editor.connection.features.supports_partial_indexes:
            return super().create_sql(model, schema_editor, using, **kwargs)
        rest = PartialIndex(fields=self.fields[1:], name=self.name, condition=self.condition)
        return rest.create_sql(model, schema_editor, using, **kwargs)


class UniqueWhereSet(_Partial, models.UniqueConstraint):
    """Values are unique where the first field is set; what is NULL costs no place in the index."""

    def __init__(
        self, *, fields: tuple[str, ...], name: str, condition: models.Q | None = None
    ) -> None:
        condition = condition or models.Q((f"{fields[0]}__isnull", False))
        super().__init__(fields=fields, name=name, condition=condition)
