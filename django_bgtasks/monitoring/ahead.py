"""How many jobs are ahead of one that waits for a place: for who waits for it, and looks often."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import takewhile

from django.db.models import Exists, OuterRef, Q
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ..core.limits import IN_ORDER
from ..core.states import State, WaitsFor
from ..ledger.lanes import LINE
from ..models import Job, QueuePause

# So many are counted: each change is told to whoever follows the job.
COUNTED = 100


class Waits(StrEnum):
    """What a blocked job waits for.

    rate: for the next start of its rate. behind_failed: for the decision about a failed job that
    holds its sequence. paused: for its queue. step: for the step before it in its workflow.
    """

    LIMIT = "limit"
    SEQUENCE = "sequence"
    RATE = "rate"
    BEHIND_FAILED = "behind_failed"
    PAUSED = "paused"
    STEP = "step"


@dataclass(frozen=True, slots=True)
class Ahead:
    """What a job waits for, and how many others get a place before it does.

    is_more: at least so many, for nobody has counted further.
    """

    code: Waits
    before: int
    is_more: bool = False

    @property
    def text(self) -> str:
        """The same for people, in the language of who reads it."""
        if self.code is Waits.BEHIND_FAILED:
            return _("It waits: a job before it has failed, and somebody must look into that.")
        if self.code is Waits.PAUSED:
            return _("It waits: its queue is paused.")
        if self.code is Waits.STEP:
            return _("It waits for the step before it.")
        return _text(self)


def jobs_ahead(job: Job, using: str) -> Ahead | None:
    """Who is ahead of this job; None if it waits for nothing of these. One statement at most."""
    if not job.waits_for or job.waits_for == WaitsFor.GATE:
        return Ahead(Waits.STEP, 0) if job.waits_for else None
    is_rate = job.waits_for == WaitsFor.RATE
    key = {"rate": job.rate} if is_rate else {"lane": job.lane}
    pause = QueuePause.objects.using(using).filter(
        queue=OuterRef("queue"), backend=OuterRef("backend")
    )
    failed = Job.objects.using(using).filter(
        lane=job.lane, place__isnull=False, state=State.FAILED, lane_mode__in=sorted(IN_ORDER)
    )
    rows = Job.objects.using(using).filter(waits_for=job.waits_for, **key).order_by(*LINE)
    # As admit() has it: none of a paused queue gets one, but for its turn in a sequence.
    gets_one = Q(~Exists(pause))
    if not is_rate:
        gets_one |= Q(lane_mode__in=sorted(IN_ORDER))
    found = rows.annotate(gets_one=gets_one, is_held=Exists(failed))
    line = list(found.values_list("pk", "gets_one", "is_held")[: COUNTED + 1])
    ahead = list(takewhile(lambda row: row[0] != job.pk, line))
    is_more = len(ahead) > COUNTED
    if len(ahead) == len(line) and not is_more:
        # It has just got its place.
        return None
    before = min(COUNTED, sum(gets for _pk, gets, _is_held in ahead))
    if not is_more and not line[len(ahead)][1]:
        return Ahead(Waits.PAUSED, before)
    if is_rate:
        return Ahead(Waits.RATE, before, is_more)
    if line[0][2]:
        return Ahead(Waits.BEHIND_FAILED, before, is_more)
    code = Waits.SEQUENCE if job.lane_mode in IN_ORDER else Waits.LIMIT
    return Ahead(code, before, is_more)


def _text(ahead: Ahead) -> str:
    if not ahead.before:
        is_next = {
            Waits.SEQUENCE: _("It waits for its turn, which comes next."),
            Waits.LIMIT: _("It waits for a place, and gets the next one."),
            Waits.RATE: _("It waits for the next start that its rate allows."),
        }
        return is_next[ahead.code]
    count, text = ahead.before, ""
    if ahead.code is Waits.SEQUENCE:
        text = ngettext(
            "It waits for its turn: %(number)s job is before it.",
            "It waits for its turn: %(number)s jobs are before it.",
            count,
        )
    elif ahead.code is Waits.RATE:
        text = ngettext(
            "It waits for a start that its rate allows: %(number)s job is before it.",
            "It waits for a start that its rate allows: %(number)s jobs are before it.",
            count,
        )
    else:
        text = ngettext(
            "It waits for a place: %(number)s job is before it.",
            "It waits for a place: %(number)s jobs are before it.",
            count,
        )
    return text % {"number": f"{count}+" if ahead.is_more else count}
