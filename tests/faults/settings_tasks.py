"""Tasks of the cases in which the settings change under their jobs."""

from __future__ import annotations

from django_bgtasks import JobContext, Retry, task

from .effects import note


@task(retry=Retry(max_attempts=5, delays=[2], jitter=0), takes_context=True)
def fails_first(context: JobContext) -> int:
    """Succeeds at its second attempt."""
    job = str(context.job_id)
    note("begin", job)
    if context.attempt == 1:
        raise ValueError("not yet")
    note("end", job)
    return context.job.claims
