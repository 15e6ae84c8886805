"""Which jobs an action is for, and the question that comes before what cannot be undone."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.templatetags.admin_urls import add_preserved_filters
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _

from ..models import Job
from . import transitions
from .bulk import do_to_all
from .listing import ReadOnlyAdmin

# As many as one page of the list can show: more would keep a request waiting for seconds.
AT_ONCE = 200
CONFIRMED = "bgtasks_confirmed"
# What the confirmation of an action sends again.
CARRIED = ("action", "select_across", ACTION_CHECKBOX_NAME)


class ChosenJobs(ReadOnlyAdmin):
    """Selected jobs are taken at once; all that match, if they are many, in the background."""

    def _is_for_many(self, request: HttpRequest, queryset: QuerySet[Job]) -> bool:
        return request.POST.get("select_across") == "1" and queryset[AT_ONCE:].exists()

    def _chosen(self, queryset: QuerySet[Job]) -> list[UUID]:
        return list(queryset.values_list("pk", flat=True)[:AT_ONCE])

    def _do_to_all(self, request: HttpRequest, act: transitions.Act) -> HttpResponse:
        if not _is_confirmed(request):
            chosen = {name: value for name, value in request.GET.items() if value}
            return self._ask(request, act, "all", at_least=AT_ONCE, chosen=chosen)
        job_id = do_to_all(act, request.GET.dict(), request.user)
        text = _("A background job does this. Its page shows how far it is.")
        messages.success(request, text)
        return HttpResponseRedirect(self._page(request, job_id))

    def _question(
        self, request: HttpRequest, move: transitions.Move, job_ids: list[UUID], **context: Any
    ) -> HttpResponse | None:
        """What to ask before the move of these jobs; None if that is answered, or not needed."""
        number = transitions.interrupted_by(move, job_ids)
        if not number or _is_confirmed(request):
            return None
        return self._ask(request, move, "interrupt", number=number, **context)

    def _ask(
        self, request: HttpRequest, act: transitions.Act, template: str, **context: Any
    ) -> HttpResponse:
        carried = [(name, value) for name in CARRIED for value in request.POST.getlist(name)]
        context = {
            **self.page_context(request, _("Are you sure?")),
            "act": act,
            "fields": [*carried, (CONFIRMED, "yes")],
            **context,
        }
        return TemplateResponse(request, f"admin/django_bgtasks/job/ask_{template}.html", context)

    def _page(self, request: HttpRequest, pk: object) -> str:
        return self._url(request, "_change", pk)

    def _url(self, request: HttpRequest, suffix: str, pk: object) -> str:
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}{suffix}"
        url = reverse(name, args=(pk,), current_app=self.admin_site.name)
        filters: Any = {"preserved_filters": self.get_preserved_filters(request), "opts": self.opts}
        return add_preserved_filters(filters, url)


def _is_confirmed(request: HttpRequest) -> bool:
    return CONFIRMED in request.POST
