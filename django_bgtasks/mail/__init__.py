"""Email in the background: one setting, and any `send_mail` of a site goes out through a job."""

from .backend import BackgroundEmailBackend
from .delivery import deliver_email

__all__ = ["BackgroundEmailBackend", "deliver_email"]
