"""What the pages say of limits, sequences and rates: of a job how it stands there, and of a key."""

from __future__ import annotations

from typing import Any

from django.db import router
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ..core.formats import NOTHING, duration, from_now, number
from ..core.states import State, WaitsFor
from ..models import Job
from ..monitoring.limits import Counted, Holder, LaneFigures, Standing, standing_of
from ..monitoring.rates import RateFigures
from . import formatting as show


def limit_of(job: Job, site: str) -> dict[str, Any] | None:
    """How a job stands at its limit or in its sequence; None if it neither waits nor has a place.

    says: that in sentences. holders: who has the places that it waits for.
    """
    if job.waits_for != WaitsFor.LANE and job.place is None:
        return None
    standing = standing_of(job, router.db_for_read(Job))
    if standing is None:
        return None
    waits = job.waits_for == WaitsFor.LANE
    found = [holder for holder in standing.holders if waits and holder.id != job.pk]
    return {
        "title": _("Sequence") if standing.is_sequence else _("Limit"),
        "says": _wait(standing) if waits else _place(job, standing),
        "holders": [_holder(holder, site) for holder in found],
        "more": number(standing.held - len(found)) if waits and standing.held > len(found) else "",
        "all": show.job_list(site, lane=job.lane, state="place"),
        "waiting": show.job_list(site, lane=job.lane, state="waits"),
        "key": job.lane,
    }


def lane_row(lane: LaneFigures, site: str, may_see_jobs: bool) -> dict[str, Any]:
    """A limit or a sequence in a table."""
    links = {
        name: show.job_list(site, lane=lane.key, state=name) if may_see_jobs else None
        for name in ("place", "waits")
    }
    allowed = NOTHING if lane.allowed is None else number(lane.allowed)
    in_use = show.link(links["place"] if lane.held else None, number(lane.held))
    return {
        "key": lane.key,
        "kind": _("Sequence") if lane.is_sequence else _("Limit"),
        "is_sequence": lane.is_sequence,
        "places": format_html("{} / {}", in_use, allowed),
        "allowed": lane.allowed,
        "changed": lane.changed,
        "waiting": show.link(links["waits"] if lane.waiting.number else None, count(lane.waiting)),
        "oldest": duration(lane.oldest),
        "holder": _holder(lane.holder, site if may_see_jobs else None) if lane.holder else "",
    }


def rate_row(rate: RateFigures) -> dict[str, Any]:
    """A rate in a table."""
    allowed = NOTHING if rate.allowed is None else number(rate.allowed)
    return {
        "key": rate.key,
        "started": f"{number(rate.started)} / {allowed}",
        "per": duration(rate.per),
        "waiting": count(rate.waiting),
        "oldest": duration(rate.oldest),
        "next_start": NOTHING if rate.next_start is None else from_now(rate.next_start),
    }


def count(counted: Counted) -> str:
    """A number, or "1,000+" where nobody has counted further."""
    return f"{number(counted.number)}+" if counted.is_more else number(counted.number)


def _wait(standing: Standing) -> list[str]:
    """What a job that waits waits for."""
    if standing.is_paused:
        return [_("It waits: its queue is paused, and while it is it gets no place.")]
    if standing.allowed == 0:
        text = _("It waits: the limit of %s is 0, so that none of its jobs begins.")
        says = [text % standing.key]
    elif standing.is_sequence:
        says = [_("It waits for its turn in %s.") % standing.key]
    else:
        text = _("It waits: %(held)s of %(allowed)s places of %(key)s are taken.")
        places = {"held": number(standing.held), "allowed": number(standing.allowed or 0)}
        says = [text % {**places, "key": standing.key}]
    return [*says, _before(standing.before)]


def _before(before: Counted) -> str:
    text = ngettext("%s job is before it.", "%s jobs are before it.", before.number)
    return text % count(before) if before.number else _("It is the next one.")


def _place(job: Job, standing: Standing) -> list[str]:
    """What place a job has, and who waits for it."""
    waiting = standing.before
    if job.state == State.FAILED:
        text = ngettext(
            "Its sequence %(key)s waits behind it: %(count)s job.",
            "Its sequence %(key)s waits behind it: %(count)s jobs.",
            waiting.number,
        )
        hint = _("Retry it, or let the sequence go on without it.")
        return [text % {"key": standing.key, "count": count(waiting)}, hint]
    if standing.is_sequence:
        says = [_("It is its turn in %s.") % standing.key]
    else:
        text = _("It has place %(place)s of %(allowed)s of %(key)s.")
        numbers = {"place": number(job.place or 0), "allowed": number(standing.allowed or 0)}
        says = [text % {**numbers, "key": standing.key}]
    if waiting.number:
        text = ngettext("%s job waits for a place.", "%s jobs wait for a place.", waiting.number)
        says.append(text % count(waiting))
    return says


def _holder(holder: Holder, site: str | None) -> dict[str, Any]:
    """A job that has a place: in which state it is, and since when.

    site: None for who may not see jobs.
    """
    page = show.page_of(site, Job, holder.id) if site else None
    label = (holder.label if site else "") or holder.task.rpartition(".")[2]
    return {
        "link": show.link(page, label),
        "badge": show.badge(holder.state, State(holder.state).label),
        "since": _since(holder),
    }


def _since(holder: Holder) -> SafeString | str:
    if holder.seconds is None:
        return ""
    if holder.state == State.FAILED:
        return _("%s ago") % duration(holder.seconds)
    return _("for %s") % duration(holder.seconds)
