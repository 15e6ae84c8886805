"""What can be wrong with a backend: codes and parameters, of which texts are made for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Literal

from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from ..core.formats import duration, percent
from ..core.messages import Reason


class Level(StrEnum):
    """critical: jobs do not run. warning: somebody should look. info: nobody need be woken."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


LEVELS = tuple(Level)


@dataclass(frozen=True, slots=True)
class Target:
    """Where a problem can be looked at.

    page: batches, jobs, limits or schedules, the list with the filters `query`; batch, job, worker,
    schedule or queue, with its `id` or `name` in `query`; workers, all of them.
    """

    page: Literal[
        "batch", "batches", "job", "jobs", "limits", "queue", "worker", "workers", "schedule",
        "schedules",
    ]  # fmt: skip
    query: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it should be, and its cure.

    code: one of TEXTS. params: what the texts are made of, with durations in seconds and shares
    from 0 to 1. command: the part of the cure to be typed, if there is one.
    """

    level: Level
    code: str
    params: Mapping[str, Any] = field(default_factory=dict)
    target: Target | None = None
    command: str = ""

    @property
    def what(self) -> str:
        """What is wrong, in the language of who reads it."""
        text = WITH_A_NAME.get(self.code) if self.params.get("by") else None
        return str((text or TEXTS[self.code][0]) % self._words())

    @property
    def cure(self) -> str:
        """What to do, in the language of who reads it."""
        return str(TEXTS[self.code][1] % self._words())

    def __str__(self) -> str:
        return f"{self.what} {self.cure}"

    def as_dict(self) -> dict[str, Any]:
        """The same with its texts as plain values for JSON."""
        return {**asdict(self), "what": self.what, "cure": self.cure}

    def _words(self) -> dict[str, Any]:
        words = {name: _word(name, value) for name, value in self.params.items()}
        return {**words, "command": self.command}


class _Counted:
    """A text with a plural. Django's own lazy one is a class for each text: 30 KiB and 0.3 ms."""

    __slots__ = ("plural", "singular")

    def __init__(self, singular: str, plural: str, number: Literal["count"]) -> None:
        self.singular, self.plural = singular, plural

    def __mod__(self, words: Mapping[str, Any]) -> str:
        return ngettext(self.singular, self.plural, words["count"]) % words


# By this name makemessages finds the texts.
ngettext_lazy = _Counted

# Of what is known who did it.
WITH_A_NAME = {
    "paused": ngettext_lazy(
        "%(by)s has paused the queue %(queue)s; %(count)d job waits in it.",
        "%(by)s has paused the queue %(queue)s; %(count)d jobs wait in it.",
        "count",
    ),
    "schedule-paused": ngettext_lazy(
        "%(by)s has paused %(count)d schedule: %(name)s.",
        "%(count)d schedules are paused, the first by %(by)s: %(name)s.",
        "count",
    ),
}


def _word(name: str, value: Any) -> Any:
    if isinstance(value, Reason):
        return value.text
    if name == "span":
        return duration(value)
    return percent(value) if name == "share" else value


READ_ERRORS = _("Read the error of one of them, mend its cause, and retry them.")
# By their codes: what is wrong, and what to do. A number that decides the plural is `count`.
TEXTS: dict[str, tuple[Any, Any]] = {
    "inline": (
        _("The mode is inline: jobs run in the process that enqueues them."),
        _("Jobs for later and delayed retries need a worker all the same: %(command)s"),
    ),
    "no-worker": (_("No worker is running."), _("Start one: %(command)s")),
    "late-worker": (
        _("The worker %(name)s has not been heard of for %(span)s."),
        _("If it does not come back, others take its jobs over by themselves."),
    ),
    "lost-worker": (
        _("The worker %(name)s died %(span)s ago. Its jobs were given to others."),
        _("Look into its log or its host's, and start it again."),
    ),
    "not-starting": (
        _("The job processes of the worker %(name)s end as soon as they start: %(why)s"),
        _("Mend the cause; the log of this worker says more. It tries again by itself."),
    ),
    "no-redis": (
        _("Redis at %(address)s does not answer: %(why)s"),
        _("Start Redis, or correct its address. Jobs run from the database meanwhile."),
    ),
    "suspended": (_("All workers are held by `rq suspend`."), _("Release them: %(command)s")),
    "overdue": (
        ngettext_lazy(
            "%(count)d scheduled job is overdue, by %(span)s.",
            "%(count)d scheduled jobs are overdue, the first by %(span)s.",
            "count",
        ),
        _("Maintenance lags: look for errors in the log of bgworker."),
    ),
    "orphaned": (
        ngettext_lazy(
            "%(count)d job belongs to a worker that is gone.",
            "%(count)d jobs belong to workers that are gone.",
            "count",
        ),
        _("Maintenance takes over within seconds; if not, look into the log of bgworker."),
    ),
    "overrun": (
        ngettext_lazy(
            "%(count)d job is running though its timeout is long over.",
            "%(count)d jobs are running though their timeouts are long over.",
            "count",
        ),
        _("Their worker should have killed them: look into its log, and start it again."),
    ),
    "unknown-backend": (
        ngettext_lazy(
            "%(count)d job is held: TASKS has no backend %(backend)s of this package.",
            "%(count)d jobs are held: TASKS has no backend %(backend)s of this package.",
            "count",
        ),
        _("Name it in TASKS again, and they run; or cancel them: %(command)s"),
    ),
    "held": (
        ngettext_lazy(
            "%(count)d job of %(task)s is held: %(why)s",
            "%(count)d jobs of %(task)s are held: %(why)s",
            "count",
        ),
        _("They run by themselves once the cause is mended; or cancel them: %(command)s"),
    ),
    "held-others": (
        ngettext_lazy(
            "%(count)d job of another task is held.",
            "%(count)d jobs of other tasks are held.",
            "count",
        ),
        _("They run by themselves once the causes are mended."),
    ),
    "sequence-held": (
        ngettext_lazy(
            "%(count)d sequence waits for %(span)s behind a job that has failed: %(key)s behind "
            "job %(job)s of %(task)s.",
            "%(count)d sequences wait for up to %(span)s behind jobs that have failed: the first "
            "is %(key)s behind job %(job)s of %(task)s.",
            "count",
        ),
        _("Release it in the admin, or mend the cause and retry the job: %(command)s"),
    ),
    "limit-closed": (
        ngettext_lazy(
            "%(count)d limit is 0, and jobs wait there: %(key)s.",
            "%(count)d limits are 0, and jobs wait there: the first is %(key)s.",
            "count",
        ),
        _("Change it in the admin, or let the at_once of its tasks give another number."),
    ),
    "batch-held": (
        ngettext_lazy(
            "%(count)d workflow waits for a job of %(task)s that is held: %(name)s.",
            "%(count)d workflows wait for jobs that are held: the first is %(name)s, for a job of "
            "%(task)s.",
            "count",
        ),
        _("It goes on by itself once the cause is mended; or cancel it in the admin."),
    ),
    "batch-paused": (
        ngettext_lazy(
            "%(count)d workflow waits in the paused queue %(queue)s: %(name)s.",
            "%(count)d workflows wait in paused queues: the first is %(name)s, in %(queue)s.",
            "count",
        ),
        _("Let it go on: %(command)s"),
    ),
    "batch-unserved": (
        ngettext_lazy(
            "%(count)d workflow waits in the queue %(queue)s, which no worker serves: %(name)s.",
            "%(count)d workflows wait in queues that no worker serves: the first is %(name)s, in "
            "%(queue)s.",
            "count",
        ),
        _("Start one: %(command)s"),
    ),
    "batch-closed": (
        ngettext_lazy(
            "%(count)d workflow waits at %(key)s, where nothing moves: %(name)s.",
            "%(count)d workflows wait at limits where nothing moves: the first is %(name)s, at "
            "%(key)s.",
            "count",
        ),
        _("Change the limit in the admin, or release the sequence there."),
    ),
    "batch-unmoved": (
        ngettext_lazy(
            "Nothing of %(count)d workflow has moved for %(span)s: %(name)s.",
            "Nothing of %(count)d workflows has moved for long: the first is %(name)s, which has "
            "not for %(span)s.",
            "count",
        ),
        _("Other jobs come first in the queue %(queue)s: start more workers, or let it go first."),
    ),
    "batch-unfinished": (
        ngettext_lazy(
            "%(count)d workflow is over, and nobody has finished it: %(name)s.",
            "%(count)d workflows are over, and nobody has finished them: the first is %(name)s.",
            "count",
        ),
        _("Maintenance lags: look for errors in the log of bgworker."),
    ),
    "paused": (
        ngettext_lazy(
            "The queue %(queue)s is paused; %(count)d job waits in it.",
            "The queue %(queue)s is paused; %(count)d jobs wait in it.",
            "count",
        ),
        _("Let it go on: %(command)s"),
    ),
    "unknown-queue": (
        _("Jobs are held in the queue %(queue)s, which QUEUES does not have."),
        _("Name it in QUEUES again, or start a worker without names of queues: %(command)s"),
    ),
    "unserved": (
        _("No worker serves the queue %(queue)s, and jobs wait in it."),
        _("Start one: %(command)s"),
    ),
    "backlog": (
        _("Jobs in the queue %(queue)s wait for up to %(span)s."),
        _("Start more workers, or give this one more processes."),
    ),
    "failing": (
        _("%(share)s of the jobs in the queue %(queue)s failed in the last hour."),
        READ_ERRORS,
    ),
    "failed": (
        ngettext_lazy(
            "%(count)d job has failed in the last %(span)s, and still is.",
            "%(count)d jobs have failed in the last %(span)s, and still are.",
            "count",
        ),
        READ_ERRORS,
    ),
    "retrying": (
        ngettext_lazy(
            "%(count)d job has failed and waits for another attempt.",
            "%(count)d jobs have failed and wait for another attempt.",
            "count",
        ),
        _("They are tried again by themselves. Read the error of one of them."),
    ),
    "schedule-late": (
        ngettext_lazy(
            "%(count)d schedule is late, by %(span)s: %(name)s.",
            "%(count)d schedules are late, the first by %(span)s: %(name)s.",
            "count",
        ),
        _("No running worker knows its task, or maintenance lags: look into the log of bgworker."),
    ),
    "schedule-unknown-task": (
        ngettext_lazy(
            "%(count)d schedule fires nothing, for its task cannot be imported: %(name)s.",
            "%(count)d schedules fire nothing, for their tasks cannot be imported: %(name)s first.",
            "count",
        ),
        _("Bring the task back, make its path an alias of the new one, or delete the schedule."),
    ),
    "schedule-undeclared": (
        ngettext_lazy(
            "%(count)d schedule fires nothing, for the code does not declare it: %(name)s.",
            "%(count)d schedules fire nothing, for the code does not declare them: %(name)s first.",
            "count",
        ),
        _("Delete it, or declare it again."),
    ),
    "schedule-failing": (
        ngettext_lazy(
            "The last job of %(count)d schedule has failed: %(name)s.",
            "The last jobs of %(count)d schedules have failed: of %(name)s first.",
            "count",
        ),
        _("Read its error, mend the cause, and run it now."),
    ),
    "schedule-refused": (
        ngettext_lazy(
            "%(count)d schedule has a tick without a job, %(name)s: %(why)s",
            "%(count)d schedules have ticks without a job, the first is %(name)s: %(why)s",
            "count",
        ),
        _("Mend the cause; what is still due is tried again by itself."),
    ),
    "schedule-ended": (
        ngettext_lazy(
            "%(count)d schedule never fires again, for no tick is left: %(name)s.",
            "%(count)d schedules never fire again, for no tick is left: %(name)s first.",
            "count",
        ),
        _("Give it another time, or delete it."),
    ),
    "schedule-paused": (
        ngettext_lazy(
            "%(count)d schedule is paused: %(name)s.",
            "%(count)d schedules are paused: %(name)s first.",
            "count",
        ),
        _("Let it go on: %(command)s"),
    ),
}
