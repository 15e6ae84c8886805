"""The tables of the ledger: shape, constraints and querysets, no verbs."""

from .attempt import Attempt, AttemptLog, AttemptOutcome
from .batch import Batch, BatchKind, BatchOutcome
from .blob import Blob
from .figures import Dashboard, RollUp
from .history import HistoryEntry, HistoryVerb
from .idempotency import EffectState, IdempotencyRecord
from .job import Job
from .ledger import Ledger
from .limit import LimitOverride, Seat
from .pause import QueuePause
from .schedule import CatchUp, Overlap, Schedule, ScheduleSource
from .worker import Worker

__all__ = [
    "Attempt",
    "AttemptLog",
    "AttemptOutcome",
    "Batch",
    "BatchKind",
    "BatchOutcome",
    "Blob",
    "CatchUp",
    "Dashboard",
    "EffectState",
    "HistoryEntry",
    "HistoryVerb",
    "IdempotencyRecord",
    "Job",
    "Ledger",
    "LimitOverride",
    "Overlap",
    "QueuePause",
    "RollUp",
    "Schedule",
    "ScheduleSource",
    "Seat",
    "Worker",
]
