"""Signals of this package, beside Django's own task_enqueued, task_started and task_finished.

Those about a job send `task_result`. Those about a process of a worker are sent in it, when it
begins and when it ends in order, and send `kind`: "jobs" for one that runs jobs, "maintenance" for
the one that settles what others left behind. The `sender` is the backend's class.
"""

from __future__ import annotations

from django.dispatch import Signal

job_retrying = Signal()
job_deduplicated = Signal()
job_rescued = Signal()
process_started = Signal()
process_stopping = Signal()
