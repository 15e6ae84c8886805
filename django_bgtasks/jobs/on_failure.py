"""What a task does when a job of it has failed for good: `@task(on_failure=…)`."""

from __future__ import annotations

from functools import partial
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING

from asgiref.sync import async_to_sync
from django.utils.module_loading import import_string

from ..core.outcomes import Outcome
from ..core.payload import printable
from ..core.site_code import log_failure
from ..sandbox.restore import kept_usable
from .carried import restored
from .middleware import apart

if TYPE_CHECKING:
    from .context import JobContext


def call_on_failure(
    context: JobContext, outcome: Outcome, exception: BaseException | None = None
) -> None:
    """Call on_failure of the task, in the context that the job carries.

    Where that cannot be restored it is not called: it could meet another tenant's data.
    exception: what the attempt raised. What is raised here is logged.
    """
    apart(context, exception, partial(_call, context, outcome))


def _call(context: JobContext, outcome: Outcome) -> None:
    job, function = context.job, context.task.on_failure
    try:
        act = import_string(function) if isinstance(function, str) else function
        # Within somebody's transaction, as a test's, its errors must not end that.
        with kept_usable(context.using), restored(job):
            (async_to_sync(act) if iscoroutinefunction(act) else act)(context, outcome)
    except BaseException as error:
        text = "on_failure of %s raised for job %s, which has failed."
        log_failure(error, text, printable(job.task), job.pk)
