"""What happens at a tick: a schedule is moved to its next one, and its job is inserted, or neither.

Any number of processes do it, without a leader: of those that see a tick one moves the row, for
the move is conditional on what was read. The ticks are computed from `next_at`, never from when
something ran. What is wrong with one schedule is in no other's way.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from math import inf
from uuid import UUID

from django.db import IntegrityError, transaction

from ..core import clock
from ..core.clock import in_utc
from ..core.cron import check_cron
from ..core.errors import JobTimeout, TaskNotFound
from ..core.outcomes import failure_of
from ..core.payload import printable, redactor
from ..core.site_code import is_for_the_process
from ..core.timing import ON_TIME, Plan, Rule, plan
from ..jobs.carried import carrying
from ..jobs.enqueue import insert_built
from ..jobs.results import announce
from ..ledger import schedules
from ..ledger.connection import begin_new_session
from ..ledger.database_errors import DISCONNECTED, is_conflict
from ..models import Job, Schedule
from ..models.schedule import CatchUp, Overlap, ScheduleSource
from ..sandbox.call import deadline
from .call import CARRIED, AnyTask, jobs_of, task_of
from .code import declared
from .when import wants

logger = logging.getLogger("django_bgtasks")
# So many schedules are fired in one transaction, and no more after so many seconds. That is so for
# those that are fired one by one, and for the ticks that a predicate is asked for.
PAGE, PAGE_SECONDS = 25, 0.25
# For so many seconds a schedule of other code is not looked at.
NOT_OURS = 60.0
# Until what has failed is tried again: twice as long each time. And for what somebody else has.
FIRST_REST, LONGEST_REST, LOST = 0.5, 60.0, 0.1
# How long the site's own code may take: the import of a task, a middleware, a key.
BUILD_SECONDS = 5.0


@dataclass(slots=True)
class _Trouble:
    """What is wrong with a schedule. tries: how often in a row. text: what the log has of it."""

    revision: int
    tries: int = 0
    text: str = ""


class Firing:
    """What one process fires for a backend, and what it has to leave alone for a while."""

    def __init__(self, backend: str, using: str) -> None:
        self.backend, self.using = backend, using
        self._trouble: dict[UUID, _Trouble] = {}
        # Until when each of these schedules and tasks is left alone.
        self._resting: dict[UUID, float] = {}
        self._unknown: dict[str, float] = {}
        self._declared = declared(backend)

    def fire_due(
        self, now: datetime | None = None, limit: float = inf, seconds: float = inf
    ) -> int:
        """Enqueue the jobs of the schedules that are due. Returns how many jobs that were.

        now: in place of the database's clock, for tests. limit: so many schedules at most.
        seconds: it ends soon after them, and after some schedules at least.
        """
        self._wake()
        self._declared = declared(self.backend)
        enqueued, looked_at, end = 0, 0, clock.monotonic() + seconds
        # Those that have failed come last: they may take all the time that there is.
        for with_troubled in (False, True) if self._trouble else (True,):
            while looked_at < limit:
                size = int(min(PAGE, limit - looked_at))
                page, count = self._fire_page(size, now, with_troubled)
                looked_at += len(page)
                enqueued += count
                if clock.monotonic() >= end:
                    return enqueued
                if not page:
                    break
        return enqueued

    def seconds_to_next(self, *, later: bool = False) -> float | None:
        """Seconds until the next schedule is due; see the ledger's."""
        return schedules.seconds_to_next(
            self.backend, self.using, self._resting, self._unknown, later=later
        )

    def _wake(self) -> None:
        """Look again at what has rested long enough, and at what was edited meanwhile."""
        now = clock.monotonic()
        self._unknown = {task: until for task, until in self._unknown.items() if until > now}
        self._resting = {pk: until for pk, until in self._resting.items() if until > now}
        if troubled := self._resting.keys() & self._trouble.keys():
            rows = Schedule.objects.using(self.using).filter(pk__in=list(troubled))
            for pk, revision in rows.values_list("pk", "revision"):
                if self._trouble[pk].revision != revision:
                    del self._resting[pk], self._trouble[pk]

    def _fire_page(
        self, size: int, now: datetime | None, with_troubled: bool
    ) -> tuple[list[Schedule], int]:
        """Fire some of those that are due in one transaction, whose rows nobody else has then.

        What goes wrong with one of them undoes all: then each has a transaction of its own. So has
        one that asks the site's code first. Returns the rows, and how many jobs they got.
        """
        page: list[Schedule] = []
        alone: list[Schedule] = []
        fired: list[tuple[Schedule, AnyTask, list[Job]]] = []
        begun: list[Schedule] = []
        without = self._resting.keys() | (() if with_troubled else self._trouble.keys())
        try:
            with transaction.atomic(self.using):
                page = alone = schedules.due(
                    self.backend, self.using, size, now, without, self._unknown, lock=True
                )
                end = clock.monotonic() + PAGE_SECONDS
                for row in [row for row in page if not row.when]:
                    if fired and clock.monotonic() > end:
                        break
                    begun.append(row)
                    task = deadline(BUILD_SECONDS).run(partial(self._task_of, row))
                    if task is not None:
                        jobs = _write(row, task, plan_of(row), self.using)
                        if jobs is None:
                            self._rest(row, LOST)
                        fired.append((row, task, jobs or []))
            alone = [row for row in page if row.when]
        except BaseException as error:
            if is_for_the_process(error) or not (begun or is_conflict(error)):
                raise
            fired = []
            if begun and not isinstance(error, IntegrityError):
                alone = [row for row in page if row is not begun[-1]]
                self._note(begun[-1], None, error)
        for row, task, jobs in fired:
            self._trouble.pop(row.pk, None)
            announce_all(jobs, task)
        count, end = sum(len(jobs) for *_, jobs in fired), clock.monotonic() + PAGE_SECONDS
        for row in alone:
            count += self._fire_alone(row)
            if clock.monotonic() > end:
                break
        return page, count

    def _fire_alone(self, row: Schedule) -> int:
        """Fire one schedule; how many jobs it got. Raises only what says that the database is
        away.
        """
        task = None
        try:
            task = deadline(BUILD_SECONDS).run(partial(self._task_of, row))
            if task is None:
                return 0
            jobs = fire(row, task, self.using)
        except BaseException as error:
            # The site's code may say sys.exit(), or have a coroutine cancelled.
            if is_for_the_process(error):
                raise
            self._note(row, task, error)
            return 0
        if jobs is None:
            self._rest(row, LOST)
            return 0
        if not row.error:
            self._trouble.pop(row.pk, None)
        else:
            self._log(row, row.error, None)
        return len(jobs)

    def _task_of(self, row: Schedule) -> AnyTask | None:
        """The task of this schedule; None if other code than that of this process fires it."""
        if row.source == ScheduleSource.CODE:
            one = self._declared.get(row.name)
            if one is None or one.task.module_path != row.task:
                self._rest(row, NOT_OURS)
                return None
        try:
            return task_of(row)
        except TaskNotFound as error:
            self._unknown[row.task] = clock.monotonic() + NOT_OURS
            text = "The schedule %s is left to workers that know its task: %s"
            logger.info(text, printable(row.name), error)
            return None

    def _note(self, row: Schedule, task: AnyTask | None, error: BaseException) -> None:
        """The tick stays due, and is tried again: later each time.

        Raises what says that the database is away. That may come of this very row: others are to
        have their turn before it.
        """
        if isinstance(error, DISCONNECTED) and not is_conflict(error):
            self._rest(row, FIRST_REST)
            raise error
        text = error_line(error, row, task)
        trouble = self._log(row, text, error)
        self._rest(row, min(FIRST_REST * 2.0 ** min(trouble.tries, 20), LONGEST_REST))
        trouble.tries += 1
        if isinstance(error, JobTimeout):
            # It may have been in the middle of a statement.
            begin_new_session(self.using)
        # Whatever holds up the insert may hold up this, too.
        if not is_conflict(error) or trouble.tries > 1:
            schedules.write_error(row, text, self.using)

    def _log(self, row: Schedule, text: str, error: BaseException | None) -> _Trouble:
        """Log it, once."""
        trouble = self._trouble.get(row.pk)
        if trouble is None or trouble.revision != row.revision:
            trouble = self._trouble[row.pk] = _Trouble(row.revision)
        level = logging.DEBUG if trouble.text == text else logging.ERROR
        trouble.text = text
        logger.log(
            level,
            "The schedule %s has a tick without a job: %s",
            printable(row.name),
            printable(text),
            exc_info=error,
        )
        return trouble

    def _rest(self, row: Schedule, seconds: float) -> None:
        self._resting[row.pk] = clock.monotonic() + seconds


def fire_due(backend: str, using: str, now: datetime | None = None, limit: float = inf) -> int:
    """Enqueue the jobs of the schedules of a backend that are due; how many jobs that were."""
    return Firing(backend, using).fire_due(now, limit)


def fire(row: Schedule, task: AnyTask, using: str) -> list[Job] | None:
    """Fire a schedule that is due, in one transaction. Returns the jobs that were inserted.

    None if somebody else has moved, edited, paused or removed it: then nothing was written.
    `row.error` says then why a tick got no job that should have got one.
    """
    planned = after_predicate(row, plan_of(row))
    try:
        with transaction.atomic(using):
            jobs = _write(row, task, planned, using, row.error)
    except IntegrityError:
        # A tick that was made up, or has a job from before a backup was restored.
        existing = schedules.ticks_with_a_job(row, planned.ticks, using)
        if not existing:
            raise
        ticks = [tick for tick in planned.ticks if tick not in existing]
        with transaction.atomic(using):
            jobs = _write(row, task, replace(planned, ticks=ticks), using, row.error)
    announce_all(jobs or (), task)
    return jobs


def plan_of(row: Schedule) -> Plan:
    """What a schedule that is due does now, as its row says. `row.moment` is the time."""
    moment = in_utc(row.moment)  # type: ignore[attr-defined]
    next_at = in_utc(row.next_at) if row.next_at else None
    try:
        planned = plan(Rule.of(row), next_at, moment, catch_up=row.catch_up, grace=row.grace)
    except ValueError:
        if row.cron:
            check_cron(row.cron)
        raise
    return beside_live_jobs(row, planned, moment)


def beside_live_jobs(row: Schedule, planned: Plan, now: datetime) -> Plan:
    """What is left of a plan when a job of an earlier tick is not final."""
    ticks = planned.ticks
    if row.overlap == Overlap.WAIT and len(ticks) > 1:
        # One after another: the others stay due until the first one's job is final.
        return Plan(ticks[:1], ticks[1], planned.skipped)
    if row.overlap != Overlap.SKIP or not row.is_live:  # type: ignore[attr-defined]
        return planned
    if row.catch_up == CatchUp.ALL and any(now - tick > ON_TIME for tick in ticks):
        # They are made up, whatever comes of it: those before them are live.
        return planned
    return Plan([], planned.next_at, planned.skipped + len(ticks))


def after_predicate(row: Schedule, planned: Plan) -> Plan:
    """What the predicate of the schedule leaves of a plan. `row.error` says what it has raised.

    Ticks that it was not asked for, for it takes long, stay due.
    """
    row.error = ""
    if not row.when:
        return planned
    ticks, end = [], clock.monotonic() + PAGE_SECONDS
    next_at = planned.next_at
    for count, tick in enumerate(planned.ticks):
        if count and clock.monotonic() > end:
            next_at = tick
            break
        try:
            if wants(row, tick):
                ticks.append(tick)
        except BaseException as error:
            if is_for_the_process(error):
                raise
            row.error = error_line(error, row, None, "when: ")
    else:
        count = len(planned.ticks)
    return Plan(ticks, next_at, planned.skipped + count - len(ticks))


def error_line(error: BaseException, row: Schedule, task: AnyTask | None, prefix: str = "") -> str:
    """The error in one line, without the sensitive arguments of the call."""
    redact = redactor(task, row.args, row.kwargs)
    return (prefix + failure_of(error).redacted(redact).line)[: schedules.LONGEST_ERROR]


def _write(
    row: Schedule, task: AnyTask, planned: Plan, using: str, error: str = ""
) -> list[Job] | None:
    """Move the schedule and insert its jobs, in the current transaction; see fire()."""
    jobs: list[Job] = []
    if planned.ticks:
        now = in_utc(row.moment)  # type: ignore[attr-defined]
        jobs = deadline(BUILD_SECONDS).run(partial(jobs_of, row, task, planned.ticks, now))
    if not schedules.move(row, planned, using, error):
        return None
    inserted: list[Job] = []
    if jobs:
        with carrying_of(row):
            inserted = deadline(BUILD_SECONDS).run(partial(insert_built, jobs, task, using))
    if duplicates := len(jobs) - len(inserted):
        schedules.count_skipped(row, duplicates, using)
    return inserted


def announce_all(jobs: Iterable[Job], task: AnyTask) -> None:
    """Tell receivers of the jobs, after their commit. They have as long as what builds a job."""
    for job in jobs:
        deadline(BUILD_SECONDS).run(partial(announce, "task_enqueued", job, task))


def carrying_of(row: Schedule) -> AbstractContextManager[None]:
    """Within it the jobs carry what the schedule was set with."""
    is_code = row.source == ScheduleSource.CODE
    return nullcontext() if is_code else carrying(row.options.get(CARRIED))
