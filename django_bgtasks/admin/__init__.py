"""The dashboard, jobs, the history, idempotency records and workers in Django's admin."""

from .dashboard import DashboardAdmin
from .history import HistoryEntryAdmin
from .idempotency import IdempotencyRecordAdmin
from .jobs import JobAdmin
from .schedules import ScheduleAdmin
from .workers import WorkerAdmin

__all__ = [
    "DashboardAdmin",
    "HistoryEntryAdmin",
    "IdempotencyRecordAdmin",
    "JobAdmin",
    "ScheduleAdmin",
    "WorkerAdmin",
]
