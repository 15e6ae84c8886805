"""`manage.py bgretry`: run failed jobs again."""

from __future__ import annotations

from ...core.states import MOVES, State
from ...flow.actions import retry_job
from ..selection import SelectionCommand


class Command(SelectionCommand):
    """Queues failed or cancelled jobs again, for at least one more attempt."""

    help = "Run failed jobs again: those named by their ids, or all that match."
    states = tuple(sorted(MOVES["retry"][0]))
    usual = (State.FAILED.value,)
    verb = "will run again"
    act = staticmethod(retry_job)
