"""Views that answer before the work is done, and say where it stands."""

from .answers import accepted, refuse_when_full, status_url
from .cancel import job_cancel
from .events import job_events
from .health import healthz, readyz
from .idempotent import idempotent
from .metrics import metrics
from .status import job_status

__all__ = [
    "accepted",
    "healthz",
    "idempotent",
    "job_cancel",
    "job_events",
    "job_status",
    "metrics",
    "readyz",
    "refuse_when_full",
    "status_url",
]
