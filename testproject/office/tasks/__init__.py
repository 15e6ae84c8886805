"""The site's tasks, one kind of work a file. A worker imports this package, and with it those that
have a schedule; the others when the first of their jobs comes.
"""

from . import summaries

__all__ = ["summaries"]
