"""`manage.py bgcancel`: cancel jobs that wait or run."""

from __future__ import annotations

from django.utils.translation import gettext_lazy, ngettext_lazy

from ...core.states import LIVE, WAITING
from ...jobs.actions import cancel_job
from ..selection import SelectionCommand


class Command(SelectionCommand):
    """Cancels jobs that wait; those that run are asked to stop."""

    help = gettext_lazy("Cancel jobs: those named by their ids, or all that match.")
    command = "bgcancel"
    states = tuple(sorted(LIVE))
    default_states = tuple(sorted(WAITING))
    act = staticmethod(cancel_job)
    summary = ngettext_lazy(
        "%d job cancelled, or asked to stop.", "%d jobs cancelled, or asked to stop."
    )
