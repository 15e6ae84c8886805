"""An index over a part of a table that is there on every database."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage
from django.db import models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


class PartialIndex(models.Index):
    """A partial index where the database has them, a plain one elsewhere.

    Django leaves a conditional index out on MySQL and MariaDB; the queries here need it.
    """

    def _get_condition_sql(self, model: Any, schema_editor: BaseDatabaseSchemaEditor) -> str | None:
        if not schema_editor.connection.features.supports_partial_indexes:
            return None
        return super()._get_condition_sql(model, schema_editor)  # type: ignore[misc,no-any-return]

    def check(self, model: Any, connection: Any) -> list[CheckMessage]:
        """Without the warning that the condition is left out: that is what this class is for."""
        messages = super().check(model, connection)
        return [message for message in messages if message.id != "models.W037"]
