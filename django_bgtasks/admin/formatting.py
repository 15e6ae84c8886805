"""From stored values to safe HTML: badges, times, JSON, links."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

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
from ..core.formats import NOTHING, exact
from ..core.payload import MASK, masked, masked_call, masked_key, may_see_secrets
from ..core.tags import TAG, simplified
from ..jobs.carried import carried_values
from ..jobs.task import known_task
from ..ledger.workers import INLINE_WORKER
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
    "skipped": "⊘",
    "open": "▶",
    "timeout": "◷",
    "crash": "✕",
    "alive": "●",
    "late": "!",
    "paused": "‖",
    "active": "●",
    "ended": "○",
    "failing": "✕",
    "refused": "!",
    "unknown-task": "✕",
    "undeclared": "i",
    "stopped": "○",
    "lost": "✕",
    "in_progress": "▶",
    "done": "✓",
    "unknown": "?",
    "info": "i",
}
# An object without others in it, as indented JSON has it.
FLAT_OBJECT = re.compile(r'\{(?:\n *"(?:[^"\\]|\\.)*": (?:"(?:[^"\\]|\\.)*"|[\w.+-]+),?)+\n *\}')
# Of an argument, and of all of them, in the list.
VALUE_CHARS, CALL_CHARS = 60, 160


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
    html = '<time datetime="{}" title="{}">{}</time>'
    return format_html(html, moment.isoformat(), exact(moment), relative_time(moment))


def at(moment: datetime) -> SafeString:
    """The exact time; how long ago on hover."""
    html = '<time datetime="{}" title="{}">{}</time>'
    return format_html(html, moment.isoformat(), relative_time(moment), exact(moment))


def when(moment: datetime | None) -> SafeString | str:
    """The exact time, and how long ago that is."""
    if moment is None:
        return NOTHING
    html = '<time datetime="{}">{}</time> <span class="bgtasks-quiet">({})</span>'
    return format_html(html, moment.isoformat(), exact(moment), relative_time(moment))


def relative_time(moment: datetime) -> str:
    """The largest unit is enough: "3 minutes ago", "in 2 hours", "just now"."""
    now = clock.now()
    ahead = clock.between(now, moment)
    seconds, is_ahead = int(abs(ahead).total_seconds()), ahead > timedelta(0)
    if seconds < 1:
        return _("now") if is_ahead else _("just now")
    if seconds < 60:
        span = ngettext("%d second", "%d seconds", seconds) % seconds
    else:
        start, end = sorted((now, now + ahead))
        span = timesince(start, end, depth=1)
    return (_("in %s") if is_ahead else _("%s ago")) % span


def pretty(value: Any) -> SafeString:
    """JSON with indentation, escaped; the tag of one value is one line."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return code(FLAT_OBJECT.sub(_in_one_line, text) if TAG in text else text)


def _in_one_line(found: re.Match[str]) -> str:
    # No string has a line break as it is.
    return re.sub(r"\n *", " ", found[0]) if f'"{TAG}": ' in found[0] else found[0]


def short_call(task: str, args: Any, kwargs: Any, types: str, user: Any) -> str:
    """The arguments in one line, as a row of the list has them: as much as this user may see.

    args, kwargs: None if they are too large for a row.
    """
    if args is None or kwargs is None:
        return "…"
    if not may_see_secrets(user):
        args, kwargs = masked_call(known_task(task), args, kwargs)
    if types:
        args, kwargs = map(simplified, (args, kwargs))
    parts = [_short(value) for value in args]
    parts += [f"{name}={_short(value)}" for name, value in kwargs.items()]
    return _cut(", ".join(parts), CALL_CHARS)


def _short(value: Any) -> str:
    return MASK if value == MASK else _cut(json.dumps(value, ensure_ascii=False), VALUE_CHARS)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}…"


def conceal(job: Job, user: Any) -> Job:
    """Mask the sensitive values of a row that is shown and never saved, unless `user` may see."""
    if not may_see_secrets(user):
        task = known_task(job.task)
        job.args, job.kwargs = masked_call(task, job.args, job.kwargs)
        job.result, job.dedup_key = masked(job.result), masked_key(task, job.dedup_key)
        if job.carried is not None:
            job.carried = json.dumps(masked(carried(job)))
    return job


def carried(job: Job) -> dict[str, Any]:
    """The values that a job carries; nothing of what somebody wrote there that is no JSON."""
    try:
        return carried_values(job)
    except ValueError:
        return {}


def code(text: str) -> SafeString:
    """Text as it is, in a box that scrolls."""
    # A box that scrolls must be reachable by keyboard.
    return format_html('<pre class="bgtasks-code" tabindex="0">{}</pre>', text)


def breakable(path: str, sign: str = ".") -> SafeString:
    """A dotted path that a narrow column breaks after a dot, and not within a word."""
    parts = path.split(sign)
    return format_html_join(SafeString(f"{sign}<wbr>"), "{}", ((part,) for part in parts))


def clamped(text: object) -> SafeString:
    """A text that is cut to four lines; whole on hover."""
    return format_html('<span class="bgtasks-long" title="{}">{}</span>', text, text)


def uuid(value: object) -> SafeString:
    """A UUID that a narrow column breaks into two lines, and no more."""
    text = str(value)
    halves = (text[:19], text[19:])
    spans = format_html_join(SafeString("<wbr>"), "<span>{}</span>", ((half,) for half in halves))
    return format_html('<span class="bgtasks-uuid">{}</span>', spans)


def link(url: str | None, label: object) -> SafeString | str:
    """The label, as a link when there is an address."""
    return format_html('<a href="{}">{}</a>', url, label) if url else str(label)


def sentence(text: str, part: Any, behind: Any = "") -> SafeString:
    """A sentence with this, such as a link, at its %s, and something behind it."""
    before, _sign, rest = text.partition("%s")
    return format_html("{}{}{} {}", before, part, rest, behind)


def link_to(site: str, row: models.Model | None, key: object = None) -> SafeString | str:
    """A row, with a link to its page where it has one; its key when the row is gone."""
    if row is None:
        return str(key or NOTHING)
    return link(page_of(site, type(row), row.pk), row)


def worker_of(site: str, row: models.Model | None, worker: UUID | None) -> SafeString | str:
    """Who ran an attempt: a worker, with a link to its page where its row is there."""
    if worker == INLINE_WORKER:
        return _("The process that enqueued it (inline)")
    return link_to(site, row, worker)


def about_of(site: str, row: Any) -> SafeString | str:
    """The object that a job or a schedule is about, with a link to its page."""
    if row.about_type is None:
        return NOTHING
    if row.about_type.model_class() is None or row.about is None:
        return _("%(type)s %(key)s (gone)") % {"type": row.about_type, "key": row.about_key}
    label = format_html("{}: {}", row.about._meta.verbose_name, row.about)
    return link(page_of(site, type(row.about), row.about.pk), label)


def page_of(site: str, model: type[models.Model], pk: Any) -> str | None:
    """The address of an object in this admin site; None when its model is not there."""
    return _address(site, f"{model._meta.label_lower.replace('.', '_')}_change", quote(pk))


def job_list(site: str, **query: Any) -> str | None:
    """The address of the job list with filters; None when it is not there."""
    url = _address(site, "django_bgtasks_job_changelist")
    return url and f"{url}?{urlencode(query)}"


def list_of(site: str, model: type[models.Model]) -> str | None:
    """The address of the list of a model; None when it is not there."""
    return _address(site, f"{model._meta.label_lower.replace('.', '_')}_changelist")


def part_page(site: str, kind: str, name: str, backend: str) -> str | None:
    """The address of the dashboard's page of one queue or one task: the kind."""
    url = _address(site, f"django_bgtasks_dashboard_{kind}")
    return url and f"{url}?{urlencode({'name': name, 'backend': backend})}"


def history_list(site: str, **query: Any) -> str | None:
    """The address of the history with a search; None when it is not there."""
    url = _address(site, "django_bgtasks_historyentry_changelist")
    return url and f"{url}?{urlencode(query)}"


def _address(site: str, name: str, *args: Any) -> str | None:
    try:
        return reverse(f"admin:{name}", args=args, current_app=site)
    except NoReverseMatch:
        return None
