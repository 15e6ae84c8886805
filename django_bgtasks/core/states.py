"""The states of a job, and the transitions between them."""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum

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


class WaitsFor(models.TextChoices):
    """What a blocked job waits for."""

    LANE = "lane", _("a place at its limit")
    RATE = "rate", _("the next start that its rate allows")
    GATE = "gate", _("the step before it")


WAITING = frozenset({State.BLOCKED, State.SCHEDULED, State.QUEUED})
LIVE = WAITING | {State.RUNNING}
FINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})


class Transition(Enum):
    """One step in the life of a job. Every write of a state is one of these.

    sources: the states in which a job may be before it. target: its state after it.
    A new job begins as blocked, scheduled or queued.
    """

    UNBLOCK = "unblock", {State.BLOCKED}, State.QUEUED
    BLOCK = "block", {State.SCHEDULED, State.QUEUED}, State.BLOCKED
    PROMOTE = "promote", {State.SCHEDULED}, State.QUEUED
    POSTPONE = "postpone", WAITING, State.SCHEDULED
    CLAIM = "claim", {State.QUEUED}, State.RUNNING
    # Of the first in line, by the process that has freed the place: UNBLOCK and CLAIM at once.
    CLAIM_BLOCKED = "claim_blocked", {State.BLOCKED}, State.RUNNING
    SUCCEED = "succeed", {State.RUNNING}, State.SUCCEEDED
    FAIL = "fail", {State.RUNNING}, State.FAILED
    RETRY_NOW = "retry_now", {State.RUNNING}, State.QUEUED
    RETRY_AT = "retry_at", {State.RUNNING}, State.SCHEDULED
    # Of a job whose next attempt needs a seat of its rate.
    WAIT = "wait", {State.RUNNING}, State.BLOCKED
    RELEASE = "release", {State.RUNNING}, State.QUEUED
    CANCEL_RUNNING = "cancel_running", {State.RUNNING}, State.CANCELLED
    CANCEL_WAITING = "cancel_waiting", WAITING, State.CANCELLED
    SKIP = "skip", {State.BLOCKED}, State.CANCELLED
    EXPIRE = "expire", WAITING, State.CANCELLED
    # Of a skipped step, when what it waited for is retried.
    REVIVE = "revive", {State.CANCELLED}, State.BLOCKED
    RETRY = "retry", {State.FAILED, State.CANCELLED}, State.QUEUED
    # Of a job that needs a place first.
    RETRY_BLOCKED = "retry_blocked", {State.FAILED, State.CANCELLED}, State.BLOCKED

    sources: tuple[State, ...]
    target: State

    def __new__(cls, name: str, sources: Collection[State], target: State) -> Transition:
        """The name is the value: two transitions may have the same states."""
        member = object.__new__(cls)
        member._value_ = name
        member.sources, member.target = tuple(sorted(sources)), target
        return member


STATUS = {
    **dict.fromkeys(WAITING, TaskResultStatus.READY),
    State.RUNNING: TaskResultStatus.RUNNING,
    State.SUCCEEDED: TaskResultStatus.SUCCESSFUL,
    State.FAILED: TaskResultStatus.FAILED,
    State.CANCELLED: TaskResultStatus.FAILED,
}

# For people who asked for a transition.
REFUSALS = {
    Transition.PROMOTE: _(
        "Job %(job)s is %(state)s: only a job that is %(allowed)s can be run now."
    ),
    Transition.UNBLOCK: _(
        "Job %(job)s is %(state)s: only a job that is %(allowed)s can be run without a place."
    ),
    Transition.RETRY: _("Job %(job)s is %(state)s: only a job that is %(allowed)s can be retried."),
    Transition.CANCEL_WAITING: _(
        "Job %(job)s is %(state)s: only a job that is %(allowed)s can be cancelled."
    ),
}


def in_words(state: str) -> str:
    """The state within a sentence."""
    return str(State(state).label).lower()


def refuse(transition: Transition, state: str, job_id: object) -> InvalidMove:
    """The error for a transition that a job in `state` cannot make, in the asker's language."""
    allowed = get_text_list([in_words(source) for source in transition.sources], _("or"))
    values = {"job": job_id, "state": in_words(state), "allowed": allowed}
    return InvalidMove(REFUSALS[transition] % values)
