"""What a test sees of the statements that were sent to the database."""

from __future__ import annotations

from django.test.utils import CaptureQueriesContext


def statements(queries: CaptureQueriesContext) -> list[str]:
    """The verb of each statement in lower case."""
    return [query["sql"].split()[0].lower() for query in queries]
