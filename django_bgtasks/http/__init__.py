"""Views that answer before the work is done, and say where it stands."""

from .cancel import job_cancel
from .events import job_events
from .health import healthz, readyz
from .metrics import metrics
from .responses import accepted, refuse_when_full, status_url
from .status import job_status

__all__ = [
    "accepted",
    "healthz",
    "job_cancel",
    "job_events",
    "job_status",
    "metrics",
    "readyz",
    "refuse_when_full",
    "status_url",
]
