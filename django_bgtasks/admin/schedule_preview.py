"""What the times of a form mean, before they are saved: in words, and the next of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ..core import clock
from ..core.cron_text import explain
from ..core.timing import Cron
from ..models import Schedule
from .schedule_forms import TIMES, TimesForm
from .schedule_times import NextTicks, next_ticks


@dataclass(frozen=True, slots=True)
class Preview:
    """The rule in words with its next times, or why there is none; all empty for an empty form."""

    words: str = ""
    error: str = ""
    next: NextTicks | None = None


def preview_of(form: TimesForm, row: Schedule | None = None) -> Preview:
    """That of a form with what has been typed, or with what it starts with.

    row: the schedule that is edited; its interval goes on from where it began.
    """
    if not form.is_bound:
        if not any(form.initial.get(name) for name in ("cron", "every")):
            return Preview()
        form = TimesForm(bound(form))
    if not any(form.data.get(name, "").strip() for name in ("cron", "every_0")):
        return Preview()
    errors = [error for name in TIMES for error in form.errors.get(name, ())]
    if errors or form.timing is None:
        return Preview(error=" ".join(map(str, errors)))
    now, timing = clock.now(), form.timing
    rule = timing.rule(_anchor(row, now))
    zone = rule.zone if isinstance(timing, Cron) else ""
    rest = timing.expression if isinstance(timing, Cron) else timing.seconds
    return Preview(explain(rest, zone), next=next_ticks(rule, rule.next_after(now)))


def bound(form: TimesForm) -> dict[str, object]:
    """What a form starts with, as if it had been sent."""
    number, unit = form.fields["every"].widget.decompress(form.initial.get("every"))
    values = {"cron": form.initial.get("cron") or "", "zone": form.initial.get("zone") or ""}
    return {**values, "every_0": "" if number is None else str(number), "every_1": str(unit)}


def _anchor(row: Schedule | None, now: datetime) -> datetime:
    # A new one begins with its first interval.
    return clock.in_utc(row.anchor) if row else now
