"""Fields that hold the same on every database: exact keys, any text, times in UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import models
from django.db.models import lookups
from django.utils import timezone

# MySQL and MariaDB take the character set of a collation with it, whatever the database's is.
# Other collations find "Ab" equal to "aB" and "é" to "e"; without NO PAD "a" is equal to "a ".
EXACT = {"mariadb": "utf8mb4_nopad_bin", "mysql": "utf8mb4_0900_bin"}
IN_WORDS = "utf8mb4_unicode_ci"


class _Collated(models.Field):  # type: ignore[type-arg]
    """A text with a collation of its own on MySQL and MariaDB; the others are right as they are."""

    def db_parameters(self, connection: Any) -> Any:
        """Django's, with the collation."""
        parameters: Any = super().db_parameters(connection)
        if connection.vendor == "mysql":
            parameters["collation"] = self._collation(connection)
        return parameters

    def _collation(self, connection: Any) -> str:
        return IN_WORDS


class _Exact(_Collated):
    """A text that is equal to itself only."""

    def _collation(self, connection: Any) -> str:
        return EXACT["mariadb" if connection.mysql_is_mariadb else "mysql"]


class _InUTC(models.Field):  # type: ignore[type-arg]
    """A time in UTC."""

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        """In UTC. A naive time is one of TIME_ZONE."""
        moment = value if prepared else self.get_prep_value(value)
        if not isinstance(moment, datetime):
            return moment
        if timezone.is_naive(moment):
            moment = timezone.make_aware(moment, timezone.get_default_timezone())
        if connection.vendor == "postgresql":
            return moment
        return str(moment.astimezone(UTC).replace(tzinfo=None))

    def get_db_converters(self, connection: Any) -> list[Any]:
        """Only what Django would not read as UTC by itself costs a conversion."""
        converters: list[Any] = super().get_db_converters(connection)
        if connection.vendor == "postgresql" or (settings.USE_TZ and connection.timezone is UTC):
            return converters
        return [*converters, _read_as_utc]


class _Caseless:
    """For a search, case does not matter: there the column has the collation of words."""

    def process_lhs(self, compiler: Any, connection: Any, lhs: Any = None) -> tuple[str, Any]:
        text, params = super().process_lhs(compiler, connection, lhs)  # type: ignore[misc]
        if connection.vendor == "mysql":
            text = f"{text} COLLATE {IN_WORDS}"
        return text, params


if TYPE_CHECKING:
    # Their values have the types that those of Django's own have.
    ExactCharField = UnicodeCharField = models.CharField
    UnicodeTextField = models.TextField
    UTCDateTimeField = models.DateTimeField
else:

    class UnicodeCharField(_Collated, models.CharField):
        """A short text of any characters, for people to read."""

    class UnicodeTextField(_Collated, models.TextField):
        """A text of any characters, for people to read."""

    class ExactCharField(_Exact, models.CharField):
        """A name or a key: equal to itself only, with case, accents and spaces at its end."""

    class UTCDateTimeField(_InUTC, models.DateTimeField):
        """A time that the database keeps in UTC, whatever USE_TZ, TIME_ZONE and its own zone are.

        Django keeps it in one of the three, where an hour of the year comes twice and another
        never: a lease could end in the middle of it. PostgreSQL has a type that knows the zone.

        Python sees what Django promises: aware times with USE_TZ, else naive ones in TIME_ZONE.
        """


for _lookup in (lookups.IExact, lookups.IContains, lookups.IStartsWith, lookups.IEndsWith):
    ExactCharField.register_lookup(type(_lookup.__name__, (_Caseless, _lookup), {}))


def _read_as_utc(value: datetime | None, expression: Any, connection: Any) -> datetime | None:
    """Django has taken the time for one of another zone."""
    if value is None:
        return None
    moment = value.replace(tzinfo=UTC)
    if settings.USE_TZ:
        return moment
    return timezone.make_naive(moment, timezone.get_default_timezone())
