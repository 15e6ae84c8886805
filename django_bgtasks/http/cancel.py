"""The button that cancels a job, or a workflow."""

from __future__ import annotations

from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.http import require_POST

from ..core.errors import InvalidMove
from ..jobs.actions import cancel_job
from ..ledger.history import Actor
from ..models import Batch, Job
from ..workflows.actions import cancel_batch
from .auth import read_again, row_for

# Who cancels a workflow in which more jobs wait does not wait for them.
AT_ONCE = 200


@never_cache
@require_POST
@csrf_protect
def job_cancel(request: HttpRequest, job_id: UUID) -> HttpResponse:
    """Cancel a job or a batch, for its owner and for staff who may view and cancel such.

    409 when it is final already; 403 for who may only look at it, and 404 for others. A form
    without a script is sent back to the page that it names in `next`.
    """
    row, viewer = row_for(request, job_id)
    if not viewer.may_cancel:
        raise PermissionDenied
    try:
        actor = Actor(request.user.get_username())
        answer, status = {"cancel": _cancel(row, actor)}, 200
    except InvalidMove:
        answer, status = {"error": gettext("It is finished already.")}, 409
    back, host = request.POST.get("next", ""), {request.get_host()}
    if url_has_allowed_host_and_scheme(back, host, require_https=request.is_secure()):
        return HttpResponseRedirect(back)
    return JsonResponse(answer, status=status)


def _cancel(row: Job | Batch, actor: Actor) -> str:
    """ "requested" if something of it still runs."""
    if isinstance(row, Job):
        return cancel_job(row.pk, by=actor)
    cancel_batch(row.pk, by=actor, at_once=AT_ONCE)
    fresh = read_again(row)
    return "requested" if isinstance(fresh, Batch) and not fresh.outcome else "cancelled"
