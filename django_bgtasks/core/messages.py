"""Why something did not work, in our own words: stored and logged in English, read in any language.

Who writes one takes it from here, so that it is known again when it is shown.
"""

from __future__ import annotations

import re

from django.utils.translation import gettext


def gettext_noop(text: str) -> str:
    """Mark a text for makemessages. Django's own reads the settings, which may import this."""
    return text


CANCELLED = gettext_noop("Cancelled on request.")
TOO_LONG = gettext_noop("The attempt took longer than its timeout of %(seconds)s s.")
KILLED = gettext_noop("The attempt went on after its timeout of %(seconds)s s: killed.")
WORKER_GONE = gettext_noop("Its worker is gone: it was not heard of any more.")
NOT_IMPORTED = gettext_noop("The task %(task)s cannot be imported: %(why)s")
NO_TASK = gettext_noop("%(task)s is not a task: decorate the function with @task.")
NO_TRANSACTION = gettext_noop("Its transaction could not begin.")
MAIL_REFUSED = gettext_noop("The mail server refuses this message for good: %(error)s")
MAIL_GONE = gettext_noop(
    "The stored message (blob %(blob)s) is gone: an earlier attempt delivered it, or it was "
    "deleted. If it has not arrived, send it again."
)
EFFECT_UNKNOWN = gettext_noop(
    "The effect of key %(key)s was begun and never recorded: it may or may not have happened. "
    "Check, then delete its record in the admin to allow it again."
)
NO_LONGER_ALLOWED = gettext_noop("Who asked for this may not do it any more.")
WRONG_PASSWORD = gettext_noop("%(line)s Check the password in CACHES or in OPTIONS['redis_url'].")
NO_PERMISSION = gettext_noop("%(line)s `python manage.py bgdoctor` tells what to allow.")
NOT_ALLOWED = gettext_noop(
    "The Redis user %(user)s may not do all that is needed. Allow it: %(cure)s"
)
IS_CLUSTER = gettext_noop(
    "%(line)s It is a Redis Cluster, which RQ does not support: use a Redis without cluster mode."
)

# How the supervisor describes the end of a child. The first that fits is meant: "exited with code"
# would take the cause for a part of the code.
ENDS = (
    gettext_noop(
        "The process exited with code %(code)s: the task had closed the descriptors of its process."
    ),
    gettext_noop("The process exited with code %(code)s."),
    gettext_noop("The process was killed by signal %(number)s."),
    gettext_noop("The process was killed by %(signal)s."),
)
TEXTS = (
    CANCELLED, TOO_LONG, KILLED, WORKER_GONE, *ENDS, NOT_IMPORTED, NO_TASK, NO_TRANSACTION,
    MAIL_REFUSED, MAIL_GONE, EFFECT_UNKNOWN, NO_LONGER_ALLOWED, WRONG_PASSWORD,
    NO_PERMISSION, NOT_ALLOWED, IS_CLUSTER,
)  # fmt: skip
# What stands in front of the text where no exception has a name.
OUTCOMES = (gettext_noop("crash"), gettext_noop("cancelled"))


def translated(reason: str) -> str:
    """A reason in the language of who reads it; words that are not ours stay as they are."""
    whole = _ours(reason)
    if whole is not None:
        return whole
    name, colon, message = reason.partition(": ")
    name = gettext(name) if name in OUTCOMES else name
    return f"{name}{colon}{_ours(message) or message}"


def _ours(text: str) -> str | None:
    for known, pattern in PATTERNS:
        if found := pattern.fullmatch(text):
            return gettext(known) % found.groupdict()
    return None


def _pattern(text: str) -> re.Pattern[str]:
    # Plain text and names of places by turns.
    parts = enumerate(re.split(r"%\((\w+)\)s", text))
    found = (f"(?P<{part}>.+)" if turn % 2 else re.escape(part) for turn, part in parts)
    return re.compile("".join(found), re.DOTALL)


PATTERNS = tuple((text, _pattern(text)) for text in TEXTS)
