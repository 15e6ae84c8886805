"""Where a job or a workflow stands, now or as soon as that changes."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

from django.db import transaction
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from ..core import clock
from ..models import Batch, Job
from .auth import Viewer, read_again, row_for
from .responses import RETRY_AFTER_SECONDS
from .serializers import serialize_progress

LONGEST_WAIT = 20.0
REREAD_SECONDS = 0.5


# In a transaction a database may show the same old row again and again.
@transaction.non_atomic_requests
@never_cache
@require_safe
def job_status(request: HttpRequest, job_id: UUID) -> JsonResponse:
    """Where a job or a batch stands, for its owner and for staff who may view such; 404 for others.

    `?wait=20` answers when it is final, and after 20 seconds at the latest, so that no client
    holds a thread of the server for longer; `&seen=VERSION` answers when anything is newer.
    """
    row, viewer = row_for(request, job_id)
    facts = _wait_for_news(
        row, viewer, request.GET.get("seen"), _seconds(request.GET.get("wait", ""))
    )
    return JsonResponse(
        facts, headers={} if facts["finished"] else {"Retry-After": str(RETRY_AFTER_SECONDS)}
    )


def _wait_for_news(
    row: Job | Batch, viewer: Viewer, seen: str | None, seconds: float
) -> dict[str, Any]:
    deadline = clock.monotonic() + seconds
    facts = serialize_progress(row, viewer)
    while not facts["finished"] and (seen is None or seen == facts["version"]):
        left = deadline - clock.monotonic()
        if left <= 0:
            break
        time.sleep(min(left, REREAD_SECONDS))
        fresh = read_again(row)
        if fresh is None:
            break
        facts = serialize_progress(fresh, viewer)
    return facts


def _seconds(text: str) -> float:
    """What `?wait=` asks for, at most LONGEST_WAIT; 0 for anything else than a number."""
    try:
        seconds = float(text)
    except ValueError:
        return 0.0
    # Written so that NaN is 0 too.
    return min(seconds, LONGEST_WAIT) if seconds > 0 else 0.0
