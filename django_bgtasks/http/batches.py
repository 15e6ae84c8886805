"""A workflow as JSON, as a job is: for its page and its owner's scripts."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.utils.translation import gettext, ngettext

from ..core import clock
from ..core.formats import number
from ..core.states import STATUS, State
from ..ledger.history import is_of_user
from ..ledger.lifecycle import ledger_database
from ..models import Batch, BatchOutcome, HistoryEntry, HistoryVerb
from ..monitoring.ahead import Ahead, Waits
from ..workflows.progress import BatchProgress, progress_of_batch
from .auth import Viewer

# Seconds for which a count is good for all who look in this process: there may be many of them, and
# many jobs. So many batches are remembered.
GOOD_FOR, REMEMBERED = 1.0, 256
_counts: dict[UUID, tuple[float, BatchProgress]] = {}


def batch_facts(batch: Batch, viewer: Viewer) -> dict[str, Any]:
    """What the viewer may know of a batch, with the names that the facts of a job have."""
    progress = recent_progress(batch)
    state = _state_of(batch, progress)
    is_blocked = state is State.BLOCKED
    waits = {"code": str(Waits.STEP), "before": 0, "more": False, "text": Ahead(Waits.STEP, 0).text}
    return {
        "id": str(batch.pk),
        "state": str(state),
        "label": gettext("Waiting") if is_blocked else _label(batch, state),
        "status": str(STATUS[state]),
        "waits": waits if is_blocked else None,
        "progress": {**progress.as_dict(), "message": _message(progress)},
        "result": None,
        "error": _error(batch, progress, viewer),
        "error_code": "",
        "finished": batch.finished_at is not None,
    }


def recent_progress(batch: Batch) -> BatchProgress:
    """The progress of a batch, which is a second old at most."""
    now = clock.monotonic()
    counted_at, found = _counts.get(batch.pk, (None, None))
    is_good = counted_at is not None and now - counted_at < GOOD_FOR
    if found is not None and is_good and found.outcome == batch.outcome:
        return found
    progress = progress_of_batch(batch, batch._state.db or ledger_database())
    _counts.pop(batch.pk, None)
    _counts[batch.pk] = now, progress
    for oldest in list(_counts)[:-REMEMBERED]:
        _counts.pop(oldest, None)
    return progress


def _state_of(batch: Batch, progress: BatchProgress) -> State:
    """A batch in the words for jobs."""
    if batch.outcome:
        is_skipped = batch.outcome == BatchOutcome.SKIPPED
        return State.CANCELLED if is_skipped else State(batch.outcome)
    if batch.opened_at is None:
        return State.BLOCKED
    has_begun = progress.done or progress.states.get(State.RUNNING)
    return State.RUNNING if has_begun else State.QUEUED


def _label(batch: Batch, state: State) -> str:
    if batch.outcome:
        return str(batch.get_outcome_display())
    return gettext("Being cancelled") if batch.cancelled_at is not None else str(state.label)


def _message(progress: BatchProgress) -> str:
    """How far it is, while it is open: each word of it is for who waits for it."""
    if not progress.total or progress.outcome:
        return ""
    text = ngettext(
        "%(done)s of %(total)s part is done.", "%(done)s of %(total)s parts are done.",
        progress.total,
    )  # fmt: skip
    says = [text % {"done": number(progress.done), "total": number(progress.total)}]
    if progress.failed:
        text = ngettext("%s has failed.", "%s have failed.", progress.failed)
        says.append(text % number(progress.failed))
    return " ".join(says)


def _error(batch: Batch, progress: BatchProgress, viewer: Viewer) -> str:
    """Why it has not succeeded; what went wrong with a job of it is for operators."""
    if batch.outcome == BatchOutcome.FAILED and progress.failed:
        text = ngettext(
            "%(failed)s of %(total)s parts has failed.",
            "%(failed)s of %(total)s parts have failed.",
            progress.failed,
        )
        return text % {"failed": number(progress.failed), "total": number(progress.total)}
    if batch.outcome == BatchOutcome.FAILED:
        return gettext("It failed.")
    if batch.outcome == BatchOutcome.CANCELLED and (viewer.is_owner or viewer.is_operator):
        return _who_cancelled(batch, viewer)
    return ""


def _who_cancelled(batch: Batch, viewer: Viewer) -> str:
    entries = HistoryEntry.objects.filter(batch=batch.pk, verb=HistoryVerb.BATCH_CANCELLED)
    entry = entries.order_by("-pk").first()
    if entry is None:
        return ""
    if is_of_user(entry, viewer.name):
        return gettext("You cancelled it.")
    return gettext("%s cancelled it.") % entry.by if viewer.is_operator else ""
