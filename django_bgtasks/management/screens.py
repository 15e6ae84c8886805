"""The figures in a terminal: as plain text, and with colours where `rich` is installed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.timezone import localtime

from ..core.figures import Status
from ..core.verdicts import Problem
from ..core.words import NOTHING, number, percent, span

SHOWN = 10


@dataclass(frozen=True, slots=True)
class Table:
    """One table of the screen. empty: what is said when it has no row."""

    title: str
    heads: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    empty: str


def tables(status: Status) -> Iterator[Table]:
    """What the screen shows, in its order."""
    yield _queues(status)
    yield _workers(status)
    yield _running(status)
    yield _failures(status)


def heading(status: Status) -> str:
    """The first line: which backend, when, and where Redis is."""
    redis = status.redis
    state = "not used" if not redis.used else "away" if redis.problem else redis.address
    return f"{status.backend} at {localtime(status.at):%Y-%m-%d %H:%M:%S}, redis: {state}"


def plain(status: Status, problems: list[Problem]) -> str:
    """All of it as text, for any terminal and for logs."""
    lines = [heading(status)]
    for problem in problems:
        lines += [f"{problem.level}: {problem.what}", f"    {problem.cure}"]
    for table in tables(status):
        lines += ["", table.title, *_lines(table)]
    return "\n".join(lines)


def colourful(status: Status, problems: list[Problem]) -> Any:
    """The same for `rich`."""
    from rich import box
    from rich.console import Group
    from rich.table import Table as RichTable
    from rich.text import Text

    parts: list[Any] = [Text(heading(status), style="dim")]
    for problem in problems:
        style = "bold red" if problem.level == "critical" else "yellow"
        parts += [Text(problem.what, style=style), Text(f"    {problem.cure}")]
    for table in tables(status):
        shown = RichTable(title=table.title, title_justify="left", box=box.SIMPLE_HEAD)
        for place, head in enumerate(table.heads):
            shown.add_column(head, justify="right" if _is_numeric(table, place) else "left")
        for row in table.rows:
            # Text, for a bracket in a task's name must not be taken for markup.
            shown.add_row(*map(Text, row))
        parts.append(shown if table.rows else Text(f"\n{table.title}: {table.empty}"))
    return Group(*parts)


def _lines(table: Table) -> list[str]:
    if not table.rows:
        return [f"  {table.empty}"]
    grid = [table.heads, *table.rows]
    widths = [max(len(row[place]) for row in grid) for place in range(len(table.heads))]
    right = [_is_numeric(table, place) for place in range(len(table.heads))]
    return ["  " + _line(row, widths, right) for row in grid]


def _line(row: tuple[str, ...], widths: list[int], right: list[bool]) -> str:
    cells = zip(row, widths, right, strict=True)
    return "  ".join(t.rjust(w) if r else t.ljust(w) for t, w, r in cells).rstrip()


def _is_numeric(table: Table, place: int) -> bool:
    return bool(table.rows) and all(
        row[place][:1].isdigit() or row[place] in (NOTHING, "") or row[place][:1] == "<"
        for row in table.rows
    )


def _queues(status: Status) -> Table:
    heads = ("queue", "queued", "oldest", "running", "later", "per minute", "failed", "state")
    rows = [
        (
            queue.name,
            number(queue.queued),
            span(queue.oldest),
            number(queue.running),
            number(queue.scheduled),
            number(queue.per_minute),
            percent(queue.failure_share),
            "paused" if queue.paused else "",
        )
        for queue in status.queues
    ]
    return Table("Queues", heads, rows, "There are none.")


def _workers(status: Status) -> Table:
    heads = ("worker", "health", "seen", "busy", "queues")
    busy: dict[str | None, int] = {}
    for job in status.running:
        busy[job.worker] = busy.get(job.worker, 0) + 1
    rows = [
        (
            worker.name,
            worker.health,
            f"{span(worker.seen)} ago",
            f"{min(busy.get(worker.id, 0), worker.processes)} of {worker.processes}",
            " ".join(worker.queues),
        )
        for worker in status.workers
    ]
    return Table("Workers", heads, rows, "None. Start one: python manage.py bgworker")


def _running(status: Status) -> Table:
    heads = ("running", "for", "attempt", "queue", "task")
    rows = [
        (job.id, span(job.seconds), f"{job.attempt}/{job.max_attempts}", job.queue, job.task)
        for job in status.running[:SHOWN]
    ]
    return Table("Running jobs", heads, rows, "None.")


def _failures(status: Status) -> Table:
    heads = ("times", "last", "task", "what")
    rows = [
        (number(group.count), f"{span(group.seconds)} ago", group.task, _what(group))
        for group in status.failures[:SHOWN]
    ]
    return Table("Failed attempts since yesterday", heads, rows, "None.")


def _what(group: Any) -> str:
    return f"{group.exception}: {group.message}" if group.message else str(group.exception)
