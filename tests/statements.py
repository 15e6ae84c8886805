"""What a test sees of the statements that were sent to the database."""

from __future__ import annotations

from django.test.utils import CaptureQueriesContext


def statements(queries: CaptureQueriesContext) -> list[str]:
    """The verb of each statement in lower case, or the name of a prepared one.

    Preparing it, at its first use on a connection, does not count.
    """
    words = [query["sql"].split() for query in queries]
    return [
        word[1].removeprefix("bgtasks_") if word[0] == "EXECUTE" else word[0].lower()
        for word in words
        if word[0] != "PREPARE"
    ]
