"""The states of a job and the one table of moves between them."""

from __future__ import annotations

from django.db import models
from django.utils.text import get_text_list
from django.utils.translation import gettext_lazy as _

from .compat import TaskResultStatus
from .errors import InvalidMove


class State(models.TextChoices):
    """Where a job stands. Only the ledger writes it."""

    BLOCKED = "blocked", _("Blocked")
    SCHEDULED = "scheduled", _("Scheduled")
    QUEUED = "queued", _("Queued")
    RUNNING = "running", _("Running")
    SUCCEEDED = "succeeded", _("Succeeded")
    FAILED = "failed", _("Failed")
    CANCELLED = "cancelled", _("Cancelled")


WAITING = frozenset({State.BLOCKED, State.SCHEDULED, State.QUEUED})
LIVE = WAITING | {State.RUNNING}
FINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})

TRANSITIONS: dict[str, tuple[frozenset[State], State]] = {
    "unblock": (frozenset({State.BLOCKED}), State.QUEUED),
    "promote": (frozenset({State.SCHEDULED}), State.QUEUED),
    "postpone": (WAITING, State.SCHEDULED),
    "claim": (frozenset({State.QUEUED}), State.RUNNING),
    "succeed": (frozenset({State.RUNNING}), State.SUCCEEDED),
    "fail": (frozenset({State.RUNNING}), State.FAILED),
    "again": (frozenset({State.RUNNING}), State.QUEUED),
    "later": (frozenset({State.RUNNING}), State.SCHEDULED),
    "release": (frozenset({State.RUNNING}), State.QUEUED),
    "stop": (frozenset({State.RUNNING}), State.CANCELLED),
    "cancel": (WAITING, State.CANCELLED),
    "retry": (frozenset({State.FAILED, State.CANCELLED}), State.QUEUED),
}

STATUS = {
    State.BLOCKED: TaskResultStatus.READY,
    State.SCHEDULED: TaskResultStatus.READY,
    State.QUEUED: TaskResultStatus.READY,
    State.RUNNING: TaskResultStatus.RUNNING,
    State.SUCCEEDED: TaskResultStatus.SUCCESSFUL,
    State.FAILED: TaskResultStatus.FAILED,
    State.CANCELLED: TaskResultStatus.FAILED,
}


# For who asked for a move that people make.
REFUSALS = {
    "promote": _("Job %(job)s is %(state)s: only a job that is %(allowed)s can be run now."),
    "retry": _("Job %(job)s is %(state)s: only a job that is %(allowed)s can be retried."),
    "cancel": _("Job %(job)s is %(state)s: only a job that is %(allowed)s can be cancelled."),
}


def in_words(state: str) -> str:
    """The state within a sentence."""
    return str(State(state).label).lower()


def refuse(move: str, state: str, job_id: object) -> InvalidMove:
    """The error for a `move` that a job in `state` cannot make, in the language of who asked."""
    allowed = get_text_list([in_words(one) for one in sorted(TRANSITIONS[move][0])], _("or"))
    told = {"job": job_id, "state": in_words(state), "allowed": allowed}
    return InvalidMove(REFUSALS[move] % told)
