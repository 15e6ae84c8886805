"""`manage.py bgretry`: run failed jobs again."""

from __future__ import annotations

from django.utils.translation import gettext_lazy, ngettext_lazy

from ...core.states import State, Transition
from ...jobs.actions import retry_job
from ..selection import SelectionCommand


class Command(SelectionCommand):
    """Queues failed or cancelled jobs again, for at least one more attempt."""

    help = gettext_lazy("Run failed jobs again: those named by their ids, or all that match.")
    command = "bgretry"
    states = Transition.RETRY.sources
    default_states = (State.FAILED.value,)
    act = staticmethod(retry_job)
    summary = ngettext_lazy("%d job will run again.", "%d jobs will run again.")
