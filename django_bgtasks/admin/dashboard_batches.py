"""What the dashboard says of workflows: how many are open, and which are stuck or have failed."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..core.formats import duration, number
from ..monitoring.batches import COUNTED, FailedBatch, StuckBatch, StuckWhy
from ..monitoring.snapshot import Snapshot
from . import formatting as show
from .panels import DashboardViewer

# So many that have failed lately are named.
FAILED_NAMED = 5
WHYS = {
    StuckWhy.JOB_HELD: gettext_lazy("A job of it is held: %s"),
    StuckWhy.PAUSED: gettext_lazy("It waits in the paused queue %s"),
    StuckWhy.UNSERVED: gettext_lazy("No worker serves the queue %s"),
    StuckWhy.CLOSED: gettext_lazy("It waits at a limit where nothing moves: %s"),
    StuckWhy.UNMOVED: gettext_lazy("Nothing of it has moved for long: %s comes next"),
    StuckWhy.UNFINISHED: gettext_lazy("All of it is over, and maintenance has not finished it"),
}


def batches_panel(snapshot: Snapshot, viewer: DashboardViewer) -> dict[str, Any] | None:
    """Open workflows, and those that somebody should look at; None without any of these."""
    found = snapshot.batches
    if not found.open and not found.failed_count:
        return None
    facts: list[tuple[Any, Any]] = [
        (_("Open"), show.link(viewer.batches(state="open"), _counted(found.open))),
    ]
    if found.age is not None:
        age = _("%s ago") % duration(found.age)
        facts.append((_("The oldest"), show.link(viewer.batch(found.oldest), age)))
    if found.failing:
        link = show.link(viewer.batches(state="failing"), _counted(found.failing))
        facts.append((_("Open, has failed jobs"), link))
    if found.failed_count:
        link = show.link(viewer.batches(state="failed"), _counted(found.failed_count))
        facts.append((_("Failed, last 24 hours"), link))
    rows = [_stuck(one, viewer) for one in found.stuck]
    return {
        "facts": facts,
        "rows": [*rows, *(_failed(o, viewer) for o in found.failed[:FAILED_NAMED])],
    }


def _stuck(one: StuckBatch, viewer: DashboardViewer) -> dict[str, Any]:
    return {
        "key": one.id,
        "name": one.name,
        "link": show.link(viewer.batch(one.id), one.name),
        "badge": show.badge("held", _("Stuck")),
        "why": show.sentence(str(WHYS[one.why]), _cause(one, viewer)),
        "since": _("%s ago") % duration(one.seconds),
    }


def _cause(one: StuckBatch, viewer: DashboardViewer) -> Any:
    """The job, the queue or the key for which it waits."""
    if one.why in (StuckWhy.PAUSED, StuckWhy.UNSERVED):
        return show.link(viewer.part("queue", one.queue), one.queue)
    if one.why is StuckWhy.CLOSED:
        return show.link(viewer.limits(q=one.key), one.key)
    return show.link(viewer.job(one.job), show.breakable(one.task)) if one.job else ""


def _failed(one: FailedBatch, viewer: DashboardViewer) -> dict[str, Any]:
    return {
        "key": one.id,
        "name": one.name,
        "link": show.link(viewer.batch(one.id), one.name),
        "badge": show.badge("failed", _("Failed")),
        "why": "",
        "since": _("%s ago") % duration(one.seconds),
    }


def _counted(count: int) -> str:
    return f"{number(count)}+" if count >= COUNTED else number(count)
