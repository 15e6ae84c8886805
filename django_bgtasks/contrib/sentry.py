"""Sentry: the job on each event, and one event for each attempt with which a job fails.

It may be imported by the settings: nothing here touches a model before a job runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import sentry_sdk
from sentry_sdk.integrations import Integration
from sentry_sdk.integrations.logging import ignore_logger
from sentry_sdk.utils import event_from_exception

from ..core import clock
from ..core.errors import ClaimLost, GiveUp, JobCancelled, RetryLater
from ..core.retry import DEFAULT_RETRY
from ..core.settlement import raised
from ..flow.around import AROUND, LEAVING

if TYPE_CHECKING:
    from ..flow.context import JobContext

FLUSH_SECONDS = 2.0
# What a task raises to say how it goes on, and what is no longer this attempt's to tell.
NO_ERRORS = (ClaimLost, GiveUp, JobCancelled, RetryLater)


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
        AROUND.append(_reporting)
        LEAVING.append(_flush)
        # Django logs the failure of a task as an error, and Sentry would report it again.
        for name in ("django.tasks", "django_tasks"):
            ignore_logger(name)


@contextmanager
def _reporting(context: JobContext) -> Iterator[None]:
    integration = sentry_sdk.get_client().get_integration(BgTasksIntegration)
    if integration is None:
        yield
        return
    with sentry_sdk.isolation_scope() as scope:
        _describe(context, scope)
        try:
            yield
        except BaseException as error:
            if _is_to_be_reported(error, context, integration.report_retries):
                _report(error)
            raise


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


def _is_to_be_reported(error: BaseException, context: JobContext, retries: bool) -> bool:
    if isinstance(error, NO_ERRORS):
        return False
    job, retry = context.job, getattr(context.task, "retry", DEFAULT_RETRY)
    # Only the delay, which is of no interest here, is left to chance.
    settlement = raised(error, job.attempt, job.max_attempts, retry, clock.rng)
    return retries or settlement.move == "fail"


def _report(error: BaseException) -> None:
    event, hint = event_from_exception(
        error,
        client_options=sentry_sdk.get_client().options,
        mechanism={"type": BgTasksIntegration.identifier, "handled": False},
    )
    sentry_sdk.capture_event(event, hint=hint)


def _without_secrets(event: Any, context: JobContext) -> Any:
    """Strike the sensitive arguments out of all texts, and leave out the variables of frames."""
    # Not before a job runs: it needs Django's settings.
    from ..core.sensitive import struck_out

    job = context.job

    def struck(value: Any) -> Any:
        if isinstance(value, str):
            return struck_out(value, context.task, job.args, job.kwargs)
        if isinstance(value, dict):
            return {key: struck(inner) for key, inner in value.items() if key != "vars"}
        if isinstance(value, list | tuple):
            return [struck(inner) for inner in value]
        return value

    return struck(event)


def _flush() -> None:
    sentry_sdk.flush(timeout=FLUSH_SECONDS)
