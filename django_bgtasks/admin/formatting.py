"""From stored values to safe HTML: badges, times, JSON, links."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import quote
from django.db import models
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.timesince import timesince
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ..core import clock
from ..core.errors import TaskNotFound
from ..core.formats import NOTHING, exact
from ..core.payload import masked, masked_call, masked_key, may_see_secrets
from ..jobs.task import find_task
from ..models import Job

# A sign beside the colour: the badge must be told apart in any theme and by any eye.
SIGNS = {
    "blocked": "◇",
    "scheduled": "◷",
    "queued": "○",
    "retrying": "↻",
    "held": "!",
    "running": "▶",
    "succeeded": "✓",
    "failed": "✕",
    "cancelled": "⊘",
    "timeout": "◷",
    "crash": "✕",
    "alive": "●",
    "late": "!",
    "stopped": "○",
    "lost": "✕",
    "in_progress": "▶",
    "done": "✓",
    "unknown": "?",
}


def column(field: str, label: Any, render: Callable[[Any], Any]) -> Any:
    """A method of an admin class that shows one field of a row."""

    @admin.display(description=label)
    def method(_admin: Any, row: Any) -> Any:
        return render(getattr(row, field))

    return method


def badge(kind: str, label: object) -> SafeString:
    """A sign and a word; `kind` picks the sign and the colour."""
    return format_html(
        '<span class="bgtasks-badge bgtasks-is-{}"><span aria-hidden="true">{}</span> {}</span>',
        kind,
        SIGNS.get(kind, "•"),
        label,
    )


def with_code(text: str, code: str) -> SafeString:
    """A sentence in which the part that is to be typed looks like it."""
    before, found, after = text.partition(code) if code else (text, "", "")
    return format_html("{}<code>{}</code>{}" if found else "{}", before, found, after)


def ago(moment: datetime | None) -> SafeString | str:
    """How long ago, or in how long, in words; the exact time on hover."""
    if moment is None:
        return NOTHING
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        moment.isoformat(),
        exact(moment),
        relative_time(moment),
    )


def when(moment: datetime | None) -> SafeString | str:
    """The exact time, and how long ago that is."""
    if moment is None:
        return NOTHING
    return format_html(
        '<time datetime="{}">{}</time> <span class="bgtasks-quiet">({})</span>',
        moment.isoformat(),
        exact(moment),
        relative_time(moment),
    )


def relative_time(moment: datetime) -> str:
    """The largest unit is enough: "3 minutes ago", "in 2 hours", "just now"."""
    now = clock.now()
    ahead = clock.between(now, moment)
    if abs(ahead) < timedelta(seconds=60):
        return _relative_seconds(abs(ahead), ahead > timedelta(0))
    if ahead > timedelta(0):
        return _("in %s") % timesince(now, now + ahead, depth=1)
    return _("%s ago") % timesince(now + ahead, now, depth=1)


def _relative_seconds(distance: timedelta, ahead: bool) -> str:
    seconds = int(distance.total_seconds())
    if seconds < 1:
        return _("now") if ahead else _("just now")
    text = ngettext("%d second", "%d seconds", seconds) % seconds
    return (_("in %s") if ahead else _("%s ago")) % text


def pretty(value: Any) -> SafeString:
    """JSON with indentation, escaped."""
    return code(json.dumps(value, indent=2, ensure_ascii=False))


def conceal(job: Job, user: Any) -> Job:
    """Mask the sensitive values of a row that is shown and never saved, unless `user` may see."""
    if not may_see_secrets(user):
        task = _task_of(job)
        job.args, job.kwargs = masked_call(task, job.args, job.kwargs)
        job.result, job.dedup_key = masked(job.result), masked_key(task, job.dedup_key)
    return job


def _task_of(job: Job) -> Any:
    try:
        return find_task(job.task)
    except TaskNotFound:
        return None


def code(text: str) -> SafeString:
    """Text as it is, in a box that scrolls."""
    # A box that scrolls must be reachable by keyboard.
    return format_html('<pre class="bgtasks-code" tabindex="0">{}</pre>', text)


def breakable(path: str) -> SafeString:
    """A dotted path that a narrow column breaks after a dot, and not within a word."""
    parts = path.split(".")
    return format_html_join(SafeString(".<wbr>"), "{}", ((part,) for part in parts))


def link(url: str | None, label: object) -> SafeString | str:
    """The label, as a link when there is an address."""
    return format_html('<a href="{}">{}</a>', url, label) if url else str(label)


def page_of(site: str, model: type[models.Model], pk: Any) -> str | None:
    """The address of an object in this admin site; None when its model is not there."""
    meta = model._meta
    try:
        return reverse(
            f"admin:{meta.app_label}_{meta.model_name}_change",
            args=(quote(pk),),
            current_app=site,
        )
    except NoReverseMatch:
        return None
