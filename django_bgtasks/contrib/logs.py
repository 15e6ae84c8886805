"""Logs for machines: one JSON object a line, with the job on each record logged within a task."""

from __future__ import annotations

import json
import logging
import math
from datetime import UTC, datetime
from typing import Any

from django.apps import apps

FIELDS = ("job_id", "task", "queue", "attempt", "worker")
# The attributes that every record has go by other names, or not worth a line.
_STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}


class JobFilter(logging.Filter):
    """Give each record `job_id`, `task`, `queue`, `attempt` and `worker`; None outside of a task.

    It belongs to a handler: the filters of a logger do not see what the loggers below it log. The
    records of a thread that the task itself has started are not known to be the job's.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        for name, value in _facts().items():
            setattr(record, name, value)
        return True


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON in ASCII: no text in it can end the line or drive a terminal.

    `time` (ISO 8601, UTC), `level`, `logger`, `message`, `process`; what JobFilter has found;
    `exception` and `stack`; and what was given as `extra`, as text unless JSON has it.
    """

    def format(self, record: logging.LogRecord) -> str:
        facts: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "process": record.process,
            **{name: _plain(getattr(record, name, None)) for name in FIELDS},
            "exception": self._exception(record),
            "stack": self.formatStack(record.stack_info) if record.stack_info else None,
        }
        extra = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        facts = {**{name: _plain(value) for name, value in extra.items()}, **facts}
        line = json.dumps({name: value for name, value in facts.items() if value is not None})
        # DEL is ASCII, and JSON leaves it alone.
        return line.replace("\x7f", "\\u007f")

    def _exception(self, record: logging.LogRecord) -> str | None:
        """The text that a filter has put there comes first: it may have redacted secrets."""
        if not record.exc_text and record.exc_info and record.exc_info[0] is not None:
            return self.formatException(record.exc_info)
        return record.exc_text or None


def _facts() -> dict[str, Any]:
    context = None
    # The settings configure logging before there are models.
    if apps.models_ready:
        from .. import current_job

        context = current_job()
    if context is None:
        return dict.fromkeys(FIELDS)
    job = context.job
    worker = str(job.worker) if job.worker else None
    return dict(zip(FIELDS, (str(job.pk), job.task, job.queue, job.attempt, worker), strict=True))


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    try:
        return str(value)
    except Exception as broken:
        return f"<its __str__ raised {type(broken).__name__}>"
