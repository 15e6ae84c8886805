"""Why something did not work: a code and its parameters, of which a text is made where it is read.

Rows and pipes carry the code and the parameters. Logs, and the column that people search, have the
English text besides; nothing reads that back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.utils.translation import gettext


def gettext_noop(text: str) -> str:
    """Mark a text for makemessages. Django's own reads the settings, which may import this."""
    return text


TEMPLATES = {
    # How an attempt ended.
    "cancelled": gettext_noop("Cancelled on request."),
    "cancelled_killed": gettext_noop("Cancelled on request: the attempt ended with its process."),
    "expired": gettext_noop("It expired: it had not begun in time."),
    "timeout": gettext_noop("The attempt took longer than its timeout of %(seconds)s s."),
    "timeout_killed": gettext_noop(
        "The attempt went on after its timeout of %(seconds)s s: killed."
    ),
    "worker_gone": gettext_noop("Its worker is gone: it was not heard of any more."),
    "process_exited": gettext_noop("The process exited with code %(code)s."),
    "process_fds_closed": gettext_noop(
        "The process exited with code %(code)s: the task had closed the descriptors of its process."
    ),
    "process_killed": gettext_noop("The process was killed by %(signal)s."),
    "process_killed_by_number": gettext_noop("The process was killed by signal %(number)s."),
    "mail_refused": gettext_noop("The mail server refuses this message for good: %(error)s"),
    "mail_gone": gettext_noop(
        "The stored message (blob %(blob)s) is gone: an earlier attempt delivered it, or it was "
        "deleted. If it has not arrived, send it again."
    ),
    "effect_unknown": gettext_noop(
        "The effect of key %(key)s was begun and never recorded: it may or may not have happened. "
        "Check, then delete its record in the admin to allow it again."
    ),
    "no_longer_allowed": gettext_noop("Who asked for this may not do it any more."),
    "object_gone": gettext_noop("The %(model)s with the key %(key)s does not exist any more."),
    "skipped": gettext_noop(
        "Skipped: the %(model)s with the key %(key)s does not exist any more, and the task says "
        "missing='skip'."
    ),
    "busy": gettext_noop("Skipped: no place was free at its limit."),
    "gate_failed": gettext_noop("Skipped: what it waited for has not succeeded."),
    "gate_passed": gettext_noop("Not needed: what it waited for will not happen."),
    "batch_finished": gettext_noop(
        "Batch %(batch)s is finished (%(outcome)s): only one that is open can be cancelled."
    ),
    "retry_gate": gettext_noop(
        "Job %(job)s waits for a step that has not succeeded. Retry that one: this one follows."
    ),
    "holds_no_sequence": gettext_noop(
        "Job %(job)s is %(state)s and holds no sequence: only a job that has failed can."
    ),
    # Why a job is held.
    "value_unreadable": gettext_noop("A value of its call cannot be read here: %(why)s"),
    "task_not_imported": gettext_noop("The task %(task)s cannot be imported: %(why)s"),
    "not_a_task": gettext_noop("%(task)s is not a task: decorate the function with @task."),
    "no_transaction": gettext_noop("Its transaction could not begin."),
    # Not a failure: what it means for jobs.
    "without_redis": gettext_noop(
        "without Redis: jobs start within 0.5 s; with Redis within milliseconds"
    ),
    # Why a process or a server cannot be used.
    "process_hung": gettext_noop(
        "The process was killed: it did not come to its work within %(seconds)s s of its start."
    ),
    "redis_password": gettext_noop(
        "%(line)s Check the password in CACHES or in OPTIONS['redis_url']."
    ),
    "redis_permission": gettext_noop("%(line)s `python manage.py bgdoctor` tells what to allow."),
    "redis_not_allowed": gettext_noop(
        "The Redis user %(user)s may not do all that is needed. Allow it: %(cure)s"
    ),
    "redis_cluster": gettext_noop(
        "%(line)s It is a Redis Cluster, which RQ does not support: use a Redis without cluster "
        "mode."
    ),
    # Why a schedule is none.
    "cron_fields": gettext_noop(
        "%(expression)s is not a cron expression: it needs five fields, minute, hour, day of "
        "month, month and day of week (or six, with the seconds first), or one of %(names)s."
    ),
    "cron_second": gettext_noop(
        "The second %(part)s of %(expression)s is not allowed. Allowed are 0 to 59, *, lists "
        "(0,30), ranges (0-10) and steps (*/10)."
    ),
    "cron_minute": gettext_noop(
        "The minute %(part)s of %(expression)s is not allowed. Allowed are 0 to 59, *, lists "
        "(0,30), ranges (0-10) and steps (*/10)."
    ),
    "cron_hour": gettext_noop(
        "The hour %(part)s of %(expression)s is not allowed. Allowed are 0 to 23, *, lists "
        "(8,12), ranges (8-17) and steps (*/2)."
    ),
    "cron_day": gettext_noop(
        "The day of month %(part)s of %(expression)s is not allowed. Allowed are 1 to 31, *, "
        "lists (1,15), ranges (1-7), steps (*/2), L (the last day) and LW (the last weekday)."
    ),
    "cron_month": gettext_noop(
        "The month %(part)s of %(expression)s is not allowed. Allowed are 1 to 12, JAN to DEC, *, "
        "lists (1,7), ranges (1-6) and steps (*/3)."
    ),
    "cron_weekday": gettext_noop(
        "The day of week %(part)s of %(expression)s is not allowed. Allowed are 0 to 7 (0 and 7 "
        "are Sunday), SUN to SAT, *, lists (MON,WED), ranges (MON-FRI, 5-7), steps (*/2), MON#1 "
        "(the first Monday of a month) and 5L (its last Friday)."
    ),
    "cron_never": gettext_noop(
        "%(expression)s never comes: no month has such a day. Nothing would ever be enqueued."
    ),
    "zone_unknown": gettext_noop("There is no time zone %(zone)s. Names that come near: %(near)s."),
    "every_range": gettext_noop(
        "Every() needs an interval of 1 second to 100 years, such as Every(minutes=10), not "
        "%(value)s."
    ),
    "policy_choice": gettext_noop(
        "The policy %(policy)s of a schedule is one of %(choices)s, not %(value)s."
    ),
    "policy_span": gettext_noop(
        "The policy %(policy)s of a schedule is a length of time (a timedelta or seconds) of at "
        "most 100 years, not %(value)s."
    ),
    "grace_range": gettext_noop(
        "The grace of a schedule is at least 1 second, for each tick is a little late, not "
        "%(value)s."
    ),
    "schedule_name": gettext_noop(
        "The name of a schedule is a text of at most %(length)s characters."
    ),
    "schedule_call": gettext_noop(
        "A schedule calls its task with args, a list or a tuple, and kwargs, a dict."
    ),
    "schedule_when": gettext_noop(
        "The policy when of a schedule is a function or its dotted path, such as "
        "shop.days.is_workday, not %(value)s."
    ),
    "other": "%(words)s",
}
# Of failures that a site's own code has told: their words are in the row, and stay as they are.
# `give_up` has those that are meant for people as the parameter `words`.
FOREIGN = frozenset({"exception", "give_up"})
CRASHES = frozenset({
    *("worker_gone", "process_exited", "process_fds_closed"),
    *("process_killed", "process_killed_by_number"),
})  # fmt: skip
TIMEOUTS = frozenset({"timeout", "timeout_killed"})
# Raised with GiveUp: for the owner of the job too.
FOR_OWNERS = frozenset({"mail_refused", "mail_gone", "no_longer_allowed"})


# Where to read more of it.
WITHOUT_REDIS_PAGE = "docs/settings.md#without-redis"


@dataclass(frozen=True, slots=True)
class Reason:
    """A code of TEMPLATES and its parameters. As a string it is the English text, for logs."""

    code: str
    params: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return TEMPLATES[self.code] % self.params

    @property
    def text(self) -> str:
        """The text in the language of who reads it."""
        return message(self.code, self.params)


def message(code: str, params: Mapping[str, Any] | None, otherwise: str = "") -> str:
    """The text of a code in the language of who reads it.

    otherwise: for a code without a text of ours. It may be one of another release, too, or have
    other parameters there.
    """
    try:
        return gettext(TEMPLATES[code]) % (params or {})
    except (KeyError, TypeError, ValueError):
        return otherwise


def error_message(code: str, params: Mapping[str, Any] | None, error: str) -> str:
    """What went wrong last with a job, from its columns."""
    text, crash = message(code, params, error), gettext("crash")
    return f"{crash}: {text}" if code in CRASHES else text
