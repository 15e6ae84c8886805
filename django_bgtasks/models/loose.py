"""Keys of rows of other apps, which may be in another database: no database can enforce these.

So there is no constraint. A row that is gone is None, and what is deleted by Django is taken out of
the jobs, wherever they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib.contenttypes.fields import GenericForeignKey
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ObjectDoesNotExist
from django.db import models, router
from django.db.models.fields.related_descriptors import ForwardManyToOneDescriptor


def set_null(collector: Any, field: Any, rows: Any, using: str) -> None:
    """SET_NULL in the database of the jobs, which need not be that of the deleted row.

    Only if the row goes from the database that the keys mean: a row of another one that has the
    same key is no job's.
    """
    if using == router.db_for_write(field.remote_field.model):
        collector.add_field_update(field, None, rows.using(router.db_for_write(field.model)))


# As Django's own: the rows are not read for it.
set_null.lazy_sub_objs = True  # type: ignore[attr-defined]


class LooseRow(ForwardManyToOneDescriptor):  # type: ignore[type-arg]
    """The row behind the key, from its own database; None if it is gone."""

    def get_queryset(self, **hints: Any) -> Any:
        rows: Any = super().get_queryset(**hints)
        return rows.using(router.db_for_read(rows.model))

    def get_object(self, instance: models.Model) -> Any:
        try:
            return super().get_object(instance)
        except ObjectDoesNotExist:
            return None


class LooseForeignKey(models.ForeignKey):  # type: ignore[type-arg]
    """A foreign key without a constraint. Say db_constraint=False and set_null with it."""

    forward_related_accessor_class = LooseRow


class LooseGenericForeignKey(GenericForeignKey):
    """The instance of any model, from its own database; None if it, or its model, is gone."""

    def get_content_type(self, obj: Any = None, **options: Any) -> Any:  # type: ignore[override]
        """The content type, from where the router has it and not from the database of the jobs."""
        if options.get("id") is not None:
            return _Type(options["id"])
        return super().get_content_type(model=options.get("model") if obj is None else obj)


@dataclass(frozen=True, slots=True)
class _Type:
    """A content type, as far as Django's GenericForeignKey asks it."""

    id: int

    def model_class(self) -> type[models.Model] | None:
        try:
            return ContentType.objects.get_for_id(self.id).model_class()
        except ContentType.DoesNotExist:
            return None

    def get_object_for_this_type(self, using: str | None = None, **key: Any) -> Any:
        return self._rows().get(**key)

    def get_all_objects_for_this_type(self, **keys: Any) -> Any:
        return self._rows().filter(**keys)

    def _rows(self) -> Any:
        if (model := self.model_class()) is None:
            raise ObjectDoesNotExist
        return model._base_manager.using(router.db_for_read(model))
