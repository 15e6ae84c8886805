"""`manage.py bgcancel`: cancel jobs that wait or run."""

from __future__ import annotations

from ...core.states import LIVE, WAITING
from ...flow.actions import cancel_job
from ..selection import SelectionCommand


class Command(SelectionCommand):
    """Cancels jobs that wait; those that run are asked to stop."""

    help = "Cancel jobs: those named by their ids, or all that match."
    states = tuple(sorted(LIVE))
    usual = tuple(sorted(WAITING))
    verb = "cancelled, or asked to stop"
    act = staticmethod(cancel_job)
