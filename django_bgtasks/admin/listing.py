"""What the lists have in common: nothing is edited, and no page counts a large table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import django
from django.contrib import admin, messages
from django.contrib.admin.templatetags.admin_urls import add_preserved_filters
from django.contrib.admin.utils import flatten_fieldsets
from django.core.paginator import Paginator
from django.db import models
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.translation import gettext as _

from ..core.options import backend_settings, entries
from ..core.payload import may_see_secrets
from ..monitoring.health import is_any_worker_alive

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[models.Model]
    _Paginator = Paginator[Any]
else:
    # Django's classes take no type arguments when they run.
    _ModelAdmin = admin.ModelAdmin
    _Paginator = Paginator

COUNTED = 10_000
# The fields of which a user may see a mask alone.
CONCEALED = frozenset(
    {"args", "kwargs", "carried", "result", "response", "dedup_key", "dedup_slot"}
)


class AtLeast(int):
    """A number that stands for itself or more."""

    def __str__(self) -> str:
        return f"{int(self)}+"


class CappedPaginator(_Paginator):
    """Counts no further than COUNTED rows: a list of millions opens as fast as one of ten."""

    @cached_property
    def count(self) -> int:
        """The number of rows, or COUNTED when there are more."""
        rows: Any = self.object_list
        found: int = rows.order_by()[: COUNTED + 1].count()
        return AtLeast(COUNTED) if found > COUNTED else found


class ReadOnlyAdmin(_ModelAdmin):
    """Rows to read: none is added here and none is edited."""

    paginator = CappedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    sortable_by = ()
    list_per_page = 50
    list_max_show_all = 200

    class Media:
        css: ClassVar[dict[str, tuple[str, ...]]] = {"all": ("django_bgtasks/admin.css",)}

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never: only the application makes these rows."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never: the ledger is the only writer."""
        return False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Django lets an address filter by any field: not by what this user does not see."""
        if lookup.split("__", maxsplit=1)[0] in CONCEALED and not may_see_secrets(request.user):
            return False
        return super().lookup_allowed(lookup, value, request)

    def response_delete(self, request: HttpRequest, obj_display: str, obj_id: Any) -> HttpResponse:
        """Back to the list with its filters. Django's goes there only with the right to change."""
        text = _("The %(name)s “%(obj)s” was deleted.")
        values = {"name": self.opts.verbose_name, "obj": obj_display}
        messages.success(request, text % values)
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist"
        url = reverse(name, current_app=self.admin_site.name)
        filters: Any = {"preserved_filters": self.get_preserved_filters(request), "opts": self.opts}
        return HttpResponseRedirect(add_preserved_filters(filters, url))

    def page_context(self, request: HttpRequest, title: str) -> dict[str, Any]:
        """What every page of the admin is given, for a page of our own."""
        return {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.opts,
            "media": self.media,
            # As Django's own pages have them, which changed with 6.1.
            "breadcrumbs_are_a_list": django.VERSION >= (6, 1),
        }

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        return flatten_fieldsets(self.get_fieldsets(request, obj))


class WatchedAdmin(ReadOnlyAdmin):
    """Rows that need a worker."""

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> Any:
        """Django's list, which also says when no worker is running."""
        needs_worker = not all(backend_settings(name).options.is_inline for name in entries())
        no_worker = needs_worker and not is_any_worker_alive()
        context = {"bgtasks_no_worker": no_worker, **(extra_context or {})}
        return super().changelist_view(request, context)
