"""The tables of the ledger: shape, constraints and querysets, no verbs."""

from .attempt import Attempt, Outcome
from .blob import Blob
from .idempotency import EffectState, IdempotencyRecord
from .job import Job
from .worker import Worker

__all__ = [
    "Attempt",
    "Blob",
    "EffectState",
    "IdempotencyRecord",
    "Job",
    "Outcome",
    "Worker",
]
