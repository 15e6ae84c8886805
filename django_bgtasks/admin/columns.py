"""The columns of the job list."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..core import clock
from ..core.formats import NOTHING, duration
from ..core.limits import IN_ORDER
from ..core.messages import error_message
from ..core.options import backend_of
from ..core.retry import retry_of
from ..core.states import WAITING, State, WaitsFor
from ..jobs.task import known_task
from ..ledger.batches import GATE_FAILED, SKIP_CODES
from ..models import Job
from . import formatting as show


class JobColumns:
    """What the list says of each job, and the page of a job says too."""

    @admin.display(description=gettext_lazy("task"))
    def task_name(self, job: Job) -> SafeString:
        """The function's name, its module in a quiet line below."""
        module, _dot, name = job.task.rpartition(".")
        quiet, name = show.breakable(module), show.breakable(name, "_")
        return format_html('{} <span class="bgtasks-below">{}</span>', name, quiet)

    @admin.display(description=gettext_lazy("task"))
    def task_and_call(self, job: Any) -> SafeString:
        """The task, the job's label, and as many of its arguments as a row has space for."""
        call = '<code class="bgtasks-arguments">{}</code>'
        line = format_html(call, job.short_call) if job.short_call else ""
        cut = '<span class="bgtasks-label" title="{}">{}</span>'
        label = format_html(cut, job.label, job.label) if job.label else ""
        return format_html("{}{}{}", self.task_name(job), label, line)

    @admin.display(description=gettext_lazy("state"))
    def state_and_error(self, job: Job) -> SafeString:
        """The state; below it when it is due, and the last failure, cut to two lines."""
        parts: list[Any] = [show.badge(*state_badge(job))]
        if job.state == State.SCHEDULED and job.run_after:
            parts.append(
                format_html('<span class="bgtasks-below">{}</span>', show.ago(job.run_after))
            )
        if text := wait_text(job):
            cut = '<span class="bgtasks-below bgtasks-cut" title="{}">{}</span>'
            parts.append(format_html(cut, text, text))
        if error := trouble(job):
            cut = '<span class="bgtasks-error" title="{}">{}</span>'
            parts.append(format_html(cut, error, error))
        return format_html_join("", "{}", ((part,) for part in parts))

    @admin.display(description=gettext_lazy("queue"))
    def queue_rank(self, job: Job) -> SafeString | str:
        """The queue, and the priority where it is not the usual one."""
        if not job.priority:
            return job.queue
        rank = _("priority %d") % job.priority
        return format_html('{}<span class="bgtasks-below">{}</span>', job.queue, rank)

    @admin.display(description=gettext_lazy("attempt"))
    def tries(self, job: Job) -> str:
        """Which attempt of how many. Without retries there is no "of": only crashes repeat it."""
        task = known_task(job.task)
        if task is not None and not retry_of(job.retry, task).on:
            return f"{job.attempt}"
        return f"{job.attempt}/{job.max_attempts}"

    age = show.column("enqueued_at", gettext_lazy("enqueued"), show.ago)

    @admin.display(description=gettext_lazy("duration"))
    def took(self, job: Job) -> SafeString | str:
        """How long the last attempt took, or has been taking."""
        if job.started_at is None or job.state in WAITING:
            return NOTHING
        ran = clock.between(job.started_at, job.finished_at or clock.now())
        # In a language that is read from the right its unit stays behind the number.
        return format_html("<bdi>{}</bdi>", duration(ran.total_seconds()))

    @admin.display(description=gettext_lazy("duration"))
    def took_and_tries(self, job: Job) -> SafeString | str:
        """How long it took, and which attempt that was."""
        if not job.attempt:
            return self.took(job)
        tries = _("attempt %s") % self.tries(job)
        return format_html('{}<span class="bgtasks-below">{}</span>', self.took(job), tries)


def wait_text(job: Job) -> str:
    """What the job waits for: a step, a place or a start; or that it holds its sequence."""
    if job.state == State.FAILED and job.place is not None:
        return _("holds the sequence %s") % job.lane
    if job.waits_for == WaitsFor.GATE:
        return _("waits for the step before it")
    if job.waits_for == WaitsFor.RATE:
        return _("waits for the next start that %s allows") % job.rate
    if job.waits_for != WaitsFor.LANE:
        return ""
    if job.lane_mode in IN_ORDER:
        return _("waits for its turn in %s") % job.lane
    return _("waits for a place at %s") % job.lane


def has_unknown_backend(job: Job) -> bool:
    """Whether the job waits for a backend that TASKS does not have."""
    return job.state in WAITING and backend_of(job.backend) is None


def trouble(job: Any) -> str:
    """Why the job is held and what to do, who cancelled it, or its last failure; empty if there is
    none of these.
    """
    if cancellation := getattr(job, "cancellation", ""):
        return str(cancellation)
    if not has_unknown_backend(job):
        return error_message(job.error_code, job.error_params, job.error)
    text = _(
        "TASKS has no backend %s of this package: name it there again, and the job runs; or cancel "
        "the job."
    )
    return str(text % job.backend)


def state_badge(job: Job) -> tuple[str, Any]:
    """The state as people see it: the kind of its badge and its label."""
    if job.state == State.CANCELLED and job.error_code in SKIP_CODES:
        return "skipped", _("Skipped") if job.error_code == GATE_FAILED else _("Not needed")
    if has_unknown_backend(job):
        return "held", _("Held")
    if job.state in WAITING and job.held_reason:
        return "held", _("Held")
    if job.state in WAITING and job.attempt:
        return "retrying", _("Retrying")
    return job.state, State(job.state).label
