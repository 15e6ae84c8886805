"""What the pages of one queue and of one task say, beside what the dashboard has too."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _

from ..core.formats import duration, number, percent
from ..core.states import State
from ..monitoring.breakdown import OTHER, Breakdown, Period
from ..monitoring.snapshot import QueueSnapshot
from . import formatting as show
from .panels import DashboardViewer


def part_tiles(found: Breakdown, queue: QueueSnapshot | None) -> list[tuple[str, str]]:
    """The last hour in a line. queue: how it stands, if it is one."""
    hour = found.hour
    oldest = [(_("Longest wait now"), duration(queue.oldest))] if queue else []
    return [
        *oldest,
        (_("Ended per minute"), _rate(hour.per_minute)),
        (_("Wait, 95 %"), duration(hour.waits)),
        (_("Run, 95 %"), duration(hour.runs)),
        (_("Failed, last hour"), percent(hour.failure_share)),
    ]


def states(found: Breakdown, kind: str, name: str, viewer: DashboardViewer) -> list[dict[str, Any]]:
    """How many jobs are in each state, with the list of them."""
    return [
        {
            "badge": show.badge(state, State(state).label),
            "number": show.link(
                viewer.jobs(state=state, **{kind: name}) if count else None, number(count)
            ),
        }
        for state, count in found.states.items()
    ]


def periods(found: Breakdown) -> list[tuple[str, list[str]]]:
    """The last hour and the last day, side by side."""
    return [
        (_("Last hour"), _period(found.hour)),
        (_("Last 24 hours"), _period(found.day)),
    ]


def parts(found: Breakdown, kind: str, viewer: DashboardViewer) -> list[dict[str, Any]]:
    """The tasks of a queue, or the queues of a task, with their last day."""
    return [
        {
            "name": show.link(viewer.part(OTHER[kind], name), show.breakable(name)),
            "figures": _period(period),
        }
        for name, period in found.parts
    ]


def _rate(per_minute: float) -> str:
    return f"< {number(0.1)}" if 0 < per_minute < 0.05 else number(round(per_minute, 1))


def _period(period: Period) -> list[str]:
    return [
        number(period.succeeded),
        number(period.failed),
        number(period.cancelled),
        percent(period.failure_share),
        _rate(period.per_minute),
        duration(period.waits),
        duration(period.runs),
    ]
