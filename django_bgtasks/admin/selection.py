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
from .bulk import enqueue_for_all, matching
from .listing import WatchedAdmin

# As many as one page of the list can show: more would keep a request waiting for seconds.
PAGE_LIMIT = 200
CONFIRMED = "bgtasks_confirmed"
# What the buttons for all that match send: they ask, however few these are.
ALL = "bgtasks_all"
# What the confirmation of an action sends again.
RESENT = ("action", "select_across", ACTION_CHECKBOX_NAME)


class JobSelection(WatchedAdmin):
    """Selected jobs are taken at once; all that match, if they are many, in the background."""

    def _is_for_many(self, request: HttpRequest, queryset: QuerySet[Job]) -> bool:
        return request.POST.get("select_across") == "1" and queryset[PAGE_LIMIT:].exists()

    def _is_to_be_asked(self, request: HttpRequest) -> bool:
        return ALL in request.POST and CONFIRMED not in request.POST

    def _selected_ids(self, queryset: QuerySet[Job]) -> list[UUID]:
        """The oldest first: of a sequence that is retried they run in their order."""
        return sorted(queryset.values_list("pk", flat=True)[:PAGE_LIMIT])

    def _apply_to_all(self, request: HttpRequest, action: transitions.JobAction) -> HttpResponse:
        if CONFIRMED not in request.POST:
            query = {name: value for name, value in request.GET.dict().items() if value}
            number = matching(action, query, request.user).count()
            context = {"number": number, "in_background": number > PAGE_LIMIT, "query": query}
            return self._ask(request, action, "all", **context)
        job_id = enqueue_for_all(action, request.GET.dict(), request.user)
        text = _("A background job does this. Its page shows how far it is.")
        messages.success(request, text)
        return HttpResponseRedirect(self._page(request, job_id))

    def _question(
        self,
        request: HttpRequest,
        transition: transitions.ManualTransition,
        job_ids: list[UUID],
        **context: Any,
    ) -> HttpResponse | None:
        """What to ask before it is done to these jobs; None if that is answered, or not needed."""
        if CONFIRMED in request.POST:
            return None
        question = transitions.question_about(transition, job_ids)
        if question is None:
            return None
        name, number = question
        return self._ask(request, transition, name, number=number, **context)

    def _ask(
        self, request: HttpRequest, action: transitions.JobAction, template: str, **context: Any
    ) -> HttpResponse:
        resent = [(name, value) for name in RESENT for value in request.POST.getlist(name)]
        context = {
            **self.page_context(request, _("Are you sure?")),
            "action": action,
            "fields": [*resent, (CONFIRMED, "yes")],
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
