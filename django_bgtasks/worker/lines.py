"""What a worker says: a banner, and one line for each job."""

from __future__ import annotations

import logging
import sys
from datetime import datetime

from django.conf import settings
from django.db import connections

from ..flow.execute import Run
from ..models import Job
from ..transport.connection import describe
from .plan import Plan

LEVELS = {0: logging.WARNING, 1: logging.INFO, 2: logging.DEBUG, 3: logging.DEBUG}


def job_line(run: Run) -> str:
    """id, task, queue, attempt, outcome, duration and wait of a job, in one line."""
    job = run.job
    attempt = job.attempt if run.settlement.charged else job.attempt + 1
    line = (
        f"job={job.pk} task={job.task} queue={job.queue} attempt={attempt}/{job.max_attempts} "
        f"outcome={run.outcome} duration={run.seconds:.3f}s wait={_waited(job):.3f}s"
    )
    return f"{line} error={_printable(job.error)}" if job.error else line


def banner(plan: Plan, queues: tuple[str, ...]) -> str:
    """What this worker listens to, with which Redis and which database."""
    children = "1 process" if plan.processes == 1 else f"{plan.processes} processes"
    redis = describe(plan.backend) if plan.options.dispatch else "not used"
    return (
        f"bgworker {plan.worker} on {plan.hostname}: {children}\n"
        f"  queues    {', '.join(queues)}\n"
        f"  redis     {redis}\n"
        f"  database  {_database(plan.alias)}"
    )


def set_up_logging(verbosity: int) -> None:
    """Write the worker's lines to standard error, where the site's LOGGING does not take them."""
    logger = logging.getLogger("django_bgtasks")
    logger.setLevel(LEVELS[verbosity])
    # Ours is one line a job; Django's own would be two more.
    for name in ("django.tasks", "django_tasks"):
        logging.getLogger(name).setLevel(logging.ERROR if verbosity < 2 else logging.DEBUG)
    # A child says once that Redis is away; each retry that cannot be pushed need not say it too.
    dispatch = logging.ERROR if verbosity < 2 else logging.DEBUG
    logging.getLogger("django_bgtasks.dispatch").setLevel(dispatch)
    if _handled_by_site(settings.LOGGING):
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s [%(process)d] %(message)s"))
    logger.addHandler(handler)
    logger.propagate = False


def _handled_by_site(config: dict[str, object]) -> bool:
    loggers = config.get("loggers")
    named = isinstance(loggers, dict) and any(
        name == "" or name.split(".")[0] == "django_bgtasks" for name in loggers
    )
    return named or "root" in config


def _waited(job: Job) -> float:
    """Seconds from when the job could have begun until it did."""
    since: datetime = max(filter(None, (job.enqueued_at, job.run_after)))
    return max(0.0, (job.started_at - since).total_seconds()) if job.started_at else 0.0


def _database(alias: str) -> str:
    values = connections[alias].settings_dict
    host = f" at {values['HOST']}" if values["HOST"] else ""
    return f"{connections[alias].vendor} {values['NAME']}{host}"


def _printable(text: str) -> str:
    """One line without control characters: a log must not be written by its contents."""
    return "".join(char if char.isprintable() else "?" for char in text)
