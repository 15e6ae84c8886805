"""The dashboard and the lists in Django's admin: jobs, workflows, schedules, limits, workers."""

from .batches import BatchAdmin
from .dashboard import DashboardAdmin
from .history import HistoryEntryAdmin
from .idempotency import IdempotencyRecordAdmin
from .jobs import JobAdmin
from .limits import LimitAdmin
from .schedules import ScheduleAdmin
from .workers import WorkerAdmin

__all__ = [
    "BatchAdmin",
    "DashboardAdmin",
    "HistoryEntryAdmin",
    "IdempotencyRecordAdmin",
    "JobAdmin",
    "LimitAdmin",
    "ScheduleAdmin",
    "WorkerAdmin",
]
