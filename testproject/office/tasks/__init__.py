"""The site's tasks, one kind of work a file. Workers import this package: it imports them all."""

from . import contacts, emails, pictures, reports, summaries, tallies

__all__ = ["contacts", "emails", "pictures", "reports", "summaries", "tallies"]
