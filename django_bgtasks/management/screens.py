"""A snapshot in a terminal: as plain text, and with colours where `rich` is installed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext, pgettext

from ..core.formats import NOTHING, duration, exact, from_now, number, percent
from ..core.messages import message
from ..models import AttemptOutcome
from ..monitoring.batches import StuckWhy
from ..monitoring.commands import to_type
from ..monitoring.diagnosis import queues_by_trouble
from ..monitoring.failures import FailureGroup
from ..monitoring.problems import Level, Problem
from ..monitoring.snapshot import Snapshot
from ..monitoring.waits import WaitingLane

LISTED = 10
STYLES = {Level.CRITICAL: "bold red", Level.WARNING: "yellow", Level.INFO: "cyan"}


@dataclass(frozen=True, slots=True)
class ScreenTable:
    """One table of the screen. empty: what is said when it has no row."""

    title: str
    heads: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    empty: str


def tables(snapshot: Snapshot, problems: list[Problem]) -> Iterator[ScreenTable]:
    """The tables of the screen, in its order."""
    yield _queues(snapshot, problems)
    yield _workers(snapshot)
    yield _running(snapshot)
    yield _failures(snapshot)
    if snapshot.waits.lanes:
        yield _waits(snapshot)
    if snapshot.waits.rates:
        yield _rates(snapshot)
    if snapshot.batches.open:
        yield _batches(snapshot)


def heading(snapshot: Snapshot) -> str:
    """The first line: which backend, when, and where Redis is."""
    redis = snapshot.redis
    state = _("away") if redis.problem else f"{redis.address} ({redis.name})"
    if redis.note:
        state = redis.note.text
    values = {"backend": snapshot.backend, "time": exact(snapshot.at), "state": state}
    return _("%(backend)s at %(time)s, redis: %(state)s") % values


def plain_text(snapshot: Snapshot, problems: list[Problem]) -> str:
    """All of it as text, for any terminal and for logs."""
    lines = [heading(snapshot)]
    levels = {
        Level.CRITICAL: _("critical"), Level.WARNING: _("warning"), Level.INFO: _("info"),
    }  # fmt: skip
    for problem in problems:
        lines += [f"{levels[problem.level]}: {problem.what}", f"    {problem.cure}"]
    for table in tables(snapshot, problems):
        lines += ["", table.title, *table_lines(table)]
    return "\n".join(lines)


def rich_text(snapshot: Snapshot, problems: list[Problem]) -> Any:
    """The same for `rich`."""
    from rich import box
    from rich.console import Group
    from rich.table import Table as RichTable
    from rich.text import Text

    parts: list[Any] = [Text(heading(snapshot), style="dim")]
    for problem in problems:
        parts += [Text(problem.what, style=STYLES[problem.level]), Text(f"    {problem.cure}")]
    for table in tables(snapshot, problems):
        grid = RichTable(title=table.title, title_justify="left", box=box.SIMPLE_HEAD)
        for place, head in enumerate(table.heads):
            grid.add_column(head, justify="right" if _is_numeric(table, place) else "left")
        for row in table.rows:
            # Text, for a bracket in a task's name must not be taken for markup.
            grid.add_row(*map(Text, row))
        parts.append(grid if table.rows else Text(f"\n{table.title}: {table.empty}"))
    return Group(*parts)


def table_lines(table: ScreenTable) -> list[str]:
    if not table.rows:
        return [f"  {table.empty}"]
    grid = [table.heads, *table.rows]
    widths = [max(len(row[place]) for row in grid) for place in range(len(table.heads))]
    right = [_is_numeric(table, place) for place in range(len(table.heads))]
    return ["  " + _line(row, widths, right) for row in grid]


def _line(row: tuple[str, ...], widths: list[int], right: list[bool]) -> str:
    cells = zip(row, widths, right, strict=True)
    return "  ".join(t.rjust(w) if r else t.ljust(w) for t, w, r in cells).rstrip()


def _is_numeric(table: ScreenTable, place: int) -> bool:
    return bool(table.rows) and all(
        row[place][:1].isdigit() or row[place] in (NOTHING, "") or row[place][:1] == "<"
        for row in table.rows
    )


def _queues(snapshot: Snapshot, problems: list[Problem]) -> ScreenTable:
    """Those in trouble first; idle ones are only counted, if there are others."""
    queues = queues_by_trouble(snapshot, problems)
    busy = [queue for queue in queues if not queue.is_idle] or queues
    title, idle = _("Queues"), len(queues) - len(busy)
    if idle:
        idle_text = ngettext("%d idle", "%d idle", idle) % idle
        title = f"{title} ({idle_text})"
    heads = (
        _("queue"), _("queued"), _("oldest"), _("running"), _("later"), _("per minute"),
        _("failed"), _("state"),
    )  # fmt: skip
    rows = [
        (
            queue.name,
            number(queue.queued),
            duration(queue.oldest),
            number(queue.running),
            number(queue.scheduled),
            number(queue.per_minute),
            percent(queue.failure_share),
            _("paused") if queue.paused else "",
        )
        for queue in busy
    ]
    return ScreenTable(title, heads, rows, _("There are none."))


def _workers(snapshot: Snapshot) -> ScreenTable:
    heads = (_("worker"), _("health"), _("seen"), _("busy"), _("queues"))
    healths = {"alive": _("alive"), "late": _("late"), "lost": _("lost")}
    busy = Counter(job.worker for job in snapshot.running)
    rows = [
        (
            worker.name,
            healths[worker.health],
            _("%s ago") % duration(worker.seen),
            _("%(busy)d of %(all)d")
            % {"busy": min(busy[worker.id], worker.processes), "all": worker.processes},
            _("all") if worker.serves_all else " ".join(worker.queues),
        )
        for worker in snapshot.workers
    ]
    start = _("Start one: %s") % to_type("bgworker", snapshot.backend)
    empty = _("None.") if snapshot.inline else " ".join([_("None."), start])
    return ScreenTable(_("Workers"), heads, rows, empty)


def _running(snapshot: Snapshot) -> ScreenTable:
    heads = (_("running"), pgettext("how long", "for"), _("attempt"), _("queue"), _("task"))
    rows = [
        (
            job.id,
            duration(job.seconds),
            f"{job.attempt}/{job.max_attempts}",
            job.queue,
            f"{job.task} {job.label}".rstrip(),
        )
        for job in snapshot.running[:LISTED]
    ]
    return ScreenTable(_("Running jobs"), heads, rows, _("None."))


def _waits(snapshot: Snapshot) -> ScreenTable:
    """Limits and sequences in which jobs wait; nothing where none does."""
    heads = (
        _("key"), _("waiting"), _("oldest"), _("taken"), _("at once"), _("state"),
    )  # fmt: skip
    rows = [
        (
            lane.key,
            f"{number(lane.waiting)}{'+' if lane.is_more else ''}",
            duration(lane.oldest),
            number(lane.in_use),
            NOTHING if lane.allowed is None else number(lane.allowed),
            _state_of(lane),
        )
        for lane in snapshot.waits.lanes
    ]
    return ScreenTable(_("Waiting for a place"), heads, rows, _("None."))


def _rates(snapshot: Snapshot) -> ScreenTable:
    """Rates for which jobs wait."""
    heads = (
        _("key"), _("waiting"), _("oldest"), _("started"), _("allowed"), _("next start"),
    )  # fmt: skip
    rows = [
        (
            rate.key,
            f"{number(rate.waiting)}{'+' if rate.is_more else ''}",
            duration(rate.oldest),
            number(rate.started),
            f"{number(rate.allowed)} / {duration(rate.per)}",
            from_now(rate.next_start),
        )
        for rate in snapshot.waits.rates
    ]
    return ScreenTable(_("Waiting for a start"), heads, rows, _("None."))


def _batches(snapshot: Snapshot) -> ScreenTable:
    """Workflows of which nothing moves, under the numbers of all that are open."""
    found = snapshot.batches
    heads = (_("workflow"), _("id"), _("since"), _("state"), _("queue"), _("job"))
    states = {
        StuckWhy.JOB_HELD: _("job held"),
        StuckWhy.PAUSED: _("queue paused"),
        StuckWhy.UNSERVED: _("no worker"),
        StuckWhy.CLOSED: _("limit closed"),
        StuckWhy.UNMOVED: _("nothing moves"),
        StuckWhy.UNFINISHED: _("not finished"),
    }
    rows = [
        (one.name, one.id, duration(one.seconds), states[one.why], one.queue, one.job)
        for one in found.stuck
    ]
    values = {"open": number(found.open), "failing": number(found.failing)}
    values["age"] = duration(found.age)
    title = _("Stuck workflows (open: %(open)s, oldest: %(age)s, with failed jobs: %(failing)s)")
    return ScreenTable(title % values, heads, rows, _("None."))


def _state_of(lane: WaitingLane) -> str:
    if lane.held_by:
        return _("held by the failed job %s") % lane.held_by
    if lane.allowed == 0:
        return _("closed")
    return _("sequence") if lane.is_sequence else ""


def _failures(snapshot: Snapshot) -> ScreenTable:
    window = snapshot.failures
    heads = (
        _("failed"), pgettext("how often", "times"), _("tried again"), _("last"), _("task"),
        _("what"),
    )  # fmt: skip
    rows = [
        (
            number(group.failed),
            number(group.count),
            number(group.retrying),
            _("%s ago") % duration(group.seconds),
            group.task,
            _what(group),
        )
        for group in window.groups[:LISTED]
    ]
    title = _("Failed attempts in the last %s") % duration(window.seconds)
    if more := len(window.groups[LISTED:]) + window.more:
        more_text = ngettext("%d more kind", "%d more kinds", more) % more
        title = f"{title} ({more_text})"
    return ScreenTable(title, heads, rows, _("None."))


def _what(group: FailureGroup) -> str:
    error = group.error or str(AttemptOutcome(group.outcome).label)
    return ": ".join(filter(None, (error, message(group.code, group.params, group.message))))
