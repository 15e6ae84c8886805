"""Signals of this package, beside Django's own task_enqueued, task_started and task_finished.

Each sends `task_result`; `sender` is the backend's class.
"""

from __future__ import annotations

from django.dispatch import Signal

job_retrying = Signal()
job_deduplicated = Signal()
job_rescued = Signal()
