"""What is done to all jobs that failed alike: asked first, with their number."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseBadRequest,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
)
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ..core.options import entries
from ..core.states import State
from ..jobs.actions import delete_jobs
from ..models import Job
from ..monitoring.failures import SINCE_NAME
from . import formatting as show
from . import transitions
from .bulk import enqueue_for_all, matching
from .dashboard_links import page_of_button
from .filters import frozen
from .listing import ReadOnlyAdmin
from .selection import CONFIRMED, PAGE_LIMIT

GROUP_ACTIONS: dict[str, transitions.JobAction] = {
    action.name: action for action in (transitions.RETRY, transitions.DELETE)
}
# What names a kind of failure, and the page that the button was on.
FIELDS = ("task", "error", "finished")


class FailureActions(ReadOnlyAdmin):
    """Retry and Delete beside a kind of failure, with the permissions that jobs need for it."""

    def failures_view(self, request: HttpRequest) -> HttpResponse:
        """Ask, and then do it: at once, or by a background job if the jobs are many."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        action = GROUP_ACTIONS.get(request.POST.get("action", ""))
        query = {name: request.POST.get(name, "") for name in FIELDS}
        if action is None or not all(query.values()):
            return HttpResponseBadRequest(_("There is no such kind of failure."))
        if not (self.has_view_permission(request) and may_act(request.user, action)):
            raise PermissionDenied
        query["state"] = str(State.FAILED)
        if queue := request.POST.get("queue"):
            query["queue"] = queue
        if len(entries()) > 1:
            query["backend"] = request.POST.get("backend", "")
        rows = matching(action, query, request.user)
        if CONFIRMED not in request.POST:
            return self._ask(request, action, query, rows.order_by().count())
        if rows[PAGE_LIMIT:].exists():
            job_id = enqueue_for_all(action, query, request.user)
            messages.success(
                request, _("A background job does this. Its page shows how far it is.")
            )
            page = show.page_of(self.admin_site.name, Job, job_id)
            return HttpResponseRedirect(page or page_of_button(request, self.admin_site.name))
        self._apply(request, action, rows)
        return HttpResponseRedirect(page_of_button(request, self.admin_site.name))

    def group_actions(self, request: HttpRequest) -> list[transitions.JobAction]:
        """What this user may do to jobs that failed alike."""
        return [action for action in GROUP_ACTIONS.values() if may_act(request.user, action)]

    def _apply(
        self, request: HttpRequest, action: transitions.JobAction, rows: QuerySet[Job]
    ) -> None:
        seen = dict(rows.values_list("pk", "state")[:PAGE_LIMIT])
        if isinstance(action, transitions.ManualTransition):
            transitions.apply_to_jobs(request, action, seen)
        else:
            deleted = len(delete_jobs(seen, by=transitions.actor_of(request.user)))
            text = ngettext("%d job was deleted.", "%d jobs were deleted.", deleted) % deleted
            messages.success(request, text)
        if not seen:
            messages.info(request, _("There are no such jobs any more."))

    def _ask(
        self, request: HttpRequest, action: transitions.JobAction, query: dict[str, str], count: int
    ) -> HttpResponse:
        names = (*FIELDS, "action", "queue", "backend", "range", "kind", "name")
        fields = {name: request.POST[name] for name in names if name in request.POST}
        # What is asked is what will be done, however long the answer takes.
        fields["finished"] = frozen(query)["finished"]
        context = {
            **self.page_context(request, _("Are you sure?")),
            "action": action,
            "count": count,
            "in_background": count > PAGE_LIMIT,
            "query": query,
            "is_of_a_day": query["finished"] == SINCE_NAME,
            "list_url": show.job_list(self.admin_site.name, **query),
            "back": page_of_button(request, self.admin_site.name),
            "fields": [*fields.items(), (CONFIRMED, "yes")],
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/django_bgtasks/dashboard/ask.html", context)


def may_act(user: Any, action: transitions.JobAction) -> bool:
    """Whether this user may do this to jobs, and see them."""
    return user.has_perm("django_bgtasks.view_job") and action.permits(user)
