"""The dashboard, jobs, idempotency records and workers in Django's admin."""

from .dashboard import DashboardAdmin
from .idempotency import IdempotencyRecordAdmin
from .jobs import JobAdmin
from .workers import WorkerAdmin

__all__ = ["DashboardAdmin", "IdempotencyRecordAdmin", "JobAdmin", "WorkerAdmin"]
