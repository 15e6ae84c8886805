"""A job or a workflow as JSON, for its page and its owner's scripts."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from django.utils.translation import gettext

from ..core.messages import FOR_OWNERS, TIMEOUTS, error_message, message
from ..core.payload import masked
from ..core.states import STATUS, State
from ..core.tags import simplified
from ..ledger.history import is_of_user, who_cancelled
from ..ledger.lifecycle import ledger_database
from ..models import Batch, Job
from ..monitoring.ahead import jobs_ahead
from .auth import Viewer
from .batches import batch_facts

# Cancelled by nobody, before they began.
UNBEGUN = ("expired", "busy", "gate_failed", "gate_passed")


def serialize_progress(row: Job | Batch, viewer: Viewer) -> dict[str, Any]:
    """What the viewer may know of it. `version` changes whenever anything else in it does."""
    facts = job_facts(row, viewer) if isinstance(row, Job) else batch_facts(row, viewer)
    text = json.dumps(facts, sort_keys=True, default=str)
    return {**facts, "version": hashlib.sha256(text.encode()).hexdigest()[:16]}


def job_facts(job: Job, viewer: Viewer) -> dict[str, Any]:
    """What the viewer may know of the job."""
    may_read = viewer.is_operator or job.state == State.FAILED or job.error_code in UNBEGUN
    # Its owner gets what the task returned; an operator as much as in the admin.
    result = job.result if viewer.sees_result else masked(job.result)
    result = simplified(result) if job.types else result
    error = error_for_owner(job)
    if viewer.is_owner and _cancelled_by_owner(job):
        error = gettext("You cancelled it.")
    elif viewer.is_operator:
        error = error_message(job.error_code, job.error_params, job.error)
    waits = _waits(job)
    return {
        "id": str(job.pk),
        "state": job.state,
        "label": gettext("Waiting") if waits else job.get_state_display(),
        "status": str(STATUS[State(job.state)]),
        "waits": waits,
        "progress": job.progress,
        "result": result if job.state == State.SUCCEEDED else None,
        "error": error,
        "error_code": job.error_code if may_read else "",
        "finished": job.is_final,
    }


def _waits(job: Job) -> dict[str, Any] | None:
    """What a blocked job waits for; a job without a limit or a sequence costs no statement."""
    ahead = jobs_ahead(job, ledger_database()) if job.waits_for else None
    if ahead is None:
        return None
    values = {"code": str(ahead.code), "before": ahead.before, "more": ahead.is_more}
    return {**values, "text": ahead.text}


def error_for_owner(job: Job) -> str:
    """Why it failed, or never began, for its owner.

    An exception may name paths and addresses; what GiveUp says is meant to be read.
    """
    if job.error_code in UNBEGUN:
        return message(job.error_code, job.error_params)
    if job.state != State.FAILED:
        return ""
    if job.error_code in TIMEOUTS:
        return gettext("It took too long.")
    words = (job.error_params or {}).get("words", "") if job.error_code == "give_up" else ""
    if job.error_code in FOR_OWNERS:
        words = message(job.error_code, job.error_params)
    return words or gettext("It failed.")


def _cancelled_by_owner(job: Job) -> bool:
    if job.state != State.CANCELLED or job.owner is None:
        return False
    entry = who_cancelled([job], ledger_database()).get(job.pk)
    return entry is not None and is_of_user(entry, job.owner.get_username())
