"""Sentry: the job on each event, and one event for each attempt with which a job fails.

It may be imported by the settings: nothing here touches a model before a job runs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any

import sentry_sdk
from sentry_sdk.integrations import Integration
from sentry_sdk.integrations.logging import ignore_logger
from sentry_sdk.utils import capture_internal_exceptions, event_from_exception

from ..core.errors import GiveUp
from ..core.outcomes import Outcome
from ..core.states import Transition
from ..jobs.hooks import AROUND, FAILED, LEAVING

if TYPE_CHECKING:
    from ..jobs.context import JobContext
    from ..models import Job

FLUSH_SECONDS = 2.0
# Where an exception keeps the scope and the breadcrumbs it was raised with.
SURROUNDINGS = "_bgtasks_surroundings"


class BgTasksIntegration(Integration):
    """`sentry_sdk.init(integrations=[BgTasksIntegration()])`.

    report_retries: report an attempt also if the job is tried again.
    """

    identifier = "django_bgtasks"

    def __init__(self, report_retries: bool = False) -> None:
        self.report_retries = report_retries

    @staticmethod
    def setup_once() -> None:
        """Join in; once in a process, whatever is initialised how often."""
        AROUND.append(_described)
        FAILED.append(_report)
        LEAVING.append(_flush)
        # Django logs the failure of a task as an error, and Sentry would report it again.
        for name in ("django.tasks", "django_tasks"):
            ignore_logger(name)


@contextmanager
def _described(context: JobContext) -> Iterator[None]:
    if _integration() is None:
        yield
        return
    with sentry_sdk.isolation_scope() as scope:
        _describe(context.job, context.task, scope)
        try:
            yield
        except BaseException as error:
            # What it comes to is not decided yet. What the task itself has reported of it is known
            # here only, and is not reported again.
            error.__dict__[SURROUNDINGS] = copy_context()
            raise


def _report(job: Job, task: Any, settlement: Outcome) -> None:
    integration, error = _integration(), sys.exception()
    if integration is None or isinstance(error, GiveUp):
        return
    if settlement.transition is not Transition.FAIL and not (
        integration.report_retries and _goes_on(settlement)
    ):
        return
    # A report that cannot be made must not end the worker.
    with capture_internal_exceptions():
        kept: Context | None = getattr(error, "__dict__", {}).pop(SURROUNDINGS, None)
        if kept is not None:
            kept.run(_capture, job, settlement, error)
            return
        with sentry_sdk.isolation_scope() as scope:
            _describe(job, task, scope)
            _capture(job, settlement, error)


def _integration() -> Any:
    return sentry_sdk.get_client().get_integration(BgTasksIntegration)


def _goes_on(settlement: Outcome) -> bool:
    return settlement.transition in {Transition.RETRY_NOW, Transition.RETRY_AT}


def _describe(job: Job, task: Any, scope: Any) -> None:
    scope.clear_breadcrumbs()
    scope.set_transaction_name(job.task, source="task")
    scope.set_tag("bgtasks.job", str(job.pk))
    scope.set_tag("bgtasks.task", job.task)
    scope.set_tag("bgtasks.attempt", job.attempt)
    scope.set_tag("bgtasks.queue", job.queue)
    if getattr(task, "sensitive", ()):
        scope.add_event_processor(lambda event, hint: _without_secrets(event, job, task))


def _capture(job: Job, settlement: Outcome, error: BaseException | None) -> None:
    mechanism = {"type": BgTasksIntegration.identifier, "handled": False}
    if error is None:
        sentry_sdk.capture_event(_death(job, settlement, mechanism))
        return
    options = sentry_sdk.get_client().options
    event, hint = event_from_exception(error, client_options=options, mechanism=mechanism)
    sentry_sdk.capture_event(event, hint=hint)


def _death(job: Job, settlement: Outcome, mechanism: dict[str, Any]) -> Any:
    """The event of an attempt whose process was killed: nobody raised anything."""
    failure: Any = settlement.failure
    name = failure.exception_class.rpartition(".")[2] or failure.outcome
    told = {"type": name, "value": failure.message, "mechanism": mechanism}
    # It has no frames to tell it by.
    ours = ["bgtasks", failure.outcome, job.task]
    return {"level": "error", "fingerprint": ours, "exception": {"values": [told]}}


def _without_secrets(event: Any, job: Job, task: Any) -> Any:
    """Strike the sensitive arguments out of all texts, and leave out the variables of frames."""
    # Not before a job runs: it needs Django's settings.
    from ..core.sensitive import redact

    def struck(value: Any) -> Any:
        if isinstance(value, str):
            return redact(value, task, job.args, job.kwargs)
        if isinstance(value, dict):
            return {key: struck(inner) for key, inner in value.items() if key != "vars"}
        if isinstance(value, list | tuple):
            return [struck(inner) for inner in value]
        return value

    return struck(event)


def _flush() -> None:
    sentry_sdk.flush(timeout=FLUSH_SECONDS)
