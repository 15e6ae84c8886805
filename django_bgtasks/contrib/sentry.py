"""Sentry: the job on each event, and one event for each attempt with which a job fails.

It may be imported by the settings: nothing here touches a model before a job runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any

import sentry_sdk
from sentry_sdk.integrations import Integration
from sentry_sdk.integrations.logging import ignore_logger
from sentry_sdk.utils import capture_internal_exceptions, event_from_exception

from .. import GiveUp, Middleware, Outcome, add_middleware, process_stopping
from ..core.outcomes import is_expected

if TYPE_CHECKING:
    from .. import JobContext
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
        add_middleware(_Reporting())
        process_stopping.connect(_flush)
        # Django logs the failure of a task as an error, and Sentry would report it again.
        for name in ("django.tasks", "django_tasks"):
            ignore_logger(name)


class _Reporting(Middleware):
    @contextmanager
    def around(self, context: JobContext) -> Iterator[None]:
        if _integration() is None:
            yield
            return
        with sentry_sdk.isolation_scope() as scope:
            _describe(context, scope)
            try:
                yield
            except BaseException as error:
                # What it comes to is not decided yet. What the task itself has reported of it is
                # known here only, and is not reported again.
                error.__dict__[SURROUNDINGS] = copy_context()
                raise

    def on_outcome(self, context: JobContext, outcome: Outcome) -> None:
        integration, error = _integration(), context.exception
        if integration is None or outcome.failure is None or isinstance(error, GiveUp):
            return
        if outcome.state != "failed" and not (integration.report_retries and outcome.retries):
            return
        if is_expected(context.task, outcome.failure, error):
            return
        # A report that cannot be made must not end the worker.
        with capture_internal_exceptions():
            inside: Context | None = getattr(error, "__dict__", {}).pop(SURROUNDINGS, None)
            if inside is not None:
                inside.run(_capture, context.job, outcome, error)
                return
            with sentry_sdk.isolation_scope() as scope:
                _describe(context, scope)
                _capture(context.job, outcome, error)


def _integration() -> Any:
    return sentry_sdk.get_client().get_integration(BgTasksIntegration)


def _describe(context: JobContext, scope: Any) -> None:
    job = context.job
    scope.clear_breadcrumbs()
    scope.set_transaction_name(job.task, source="task")
    scope.set_tag("bgtasks.job", str(job.pk))
    scope.set_tag("bgtasks.task", job.task)
    scope.set_tag("bgtasks.attempt", job.attempt)
    scope.set_tag("bgtasks.queue", job.queue)
    if getattr(context.task, "sensitive", ()):
        scope.add_event_processor(lambda event, hint: _without_secrets(event, context))


def _capture(job: Job, outcome: Outcome, error: BaseException | None) -> None:
    mechanism = {"type": BgTasksIntegration.identifier, "handled": False}
    if error is None:
        sentry_sdk.capture_event(_death(job, outcome, mechanism))
        return
    options = sentry_sdk.get_client().options
    event, hint = event_from_exception(error, client_options=options, mechanism=mechanism)
    sentry_sdk.capture_event(event, hint=hint)


def _death(job: Job, outcome: Outcome, mechanism: dict[str, Any]) -> Any:
    """The event of an attempt whose process was killed: nobody raised anything."""
    failure: Any = outcome.failure
    name = failure.exception_class.rpartition(".")[2] or failure.outcome
    value = {"type": name, "value": failure.message, "mechanism": mechanism}
    # It has no frames to tell it by.
    fingerprint = ["bgtasks", failure.outcome, job.task]
    return {"level": "error", "fingerprint": fingerprint, "exception": {"values": [value]}}


def _without_secrets(event: Any, context: JobContext) -> Any:
    """Redact all texts, and leave out the variables of frames."""

    def without(value: Any) -> Any:
        if isinstance(value, str):
            return context.redact(value)
        if isinstance(value, dict):
            return {key: without(inner) for key, inner in value.items() if key != "vars"}
        if isinstance(value, list | tuple):
            return [without(inner) for inner in value]
        return value

    return without(event)


def _flush(**kwargs: Any) -> None:
    sentry_sdk.flush(timeout=FLUSH_SECONDS)
