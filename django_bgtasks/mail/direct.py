"""Mail that does not go through a job, because it would be sent about one.

A mail job that fails is logged, and a log may be mailed: with Django's own LOGGING, to ADMINS. Were
that a job, it would fail like the first one, and be logged. So what is sent about a mail job, and
what a log handler of a worker sends, is delivered at once, or not at all.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from django.core.mail.message import EmailMessage

from ..core import clock
from ..core.current import is_worker, job_at_hand
from ..core.errors import Interruption
from .delivery import deliver_email, delivering_backend

logger = logging.getLogger("django_bgtasks")
# A worker waits no longer for an answer of the mail server, and then tries none for PAUSE.
LONGEST_WAIT, PAUSE = 3.0, 60.0
_handle_record = logging.Handler.handle.__code__
_enqueues: ContextVar[bool] = ContextVar("bgtasks_mail_enqueues", default=False)
_delivers: ContextVar[bool] = ContextVar("bgtasks_mail_delivers", default=False)
_paused_until, _one_at_a_time = [0.0], [threading.Lock()]


def goes_directly() -> bool:
    """Whether what is sent here must not become a job."""
    if _enqueues.get() or _delivers.get():
        # It is about the mail that is just being enqueued, or delivered.
        return True
    job = job_at_hand()
    if job is not None and job.task == deliver_email.module_path:
        return True
    return is_worker() and _is_in_log_handler()


@contextmanager
def enqueueing() -> Iterator[None]:
    """Within it mail is enqueued: what is logged about that is no job again."""
    token = _enqueues.set(True)
    try:
        yield
    finally:
        _enqueues.reset(token)


def deliver_directly(messages: Sequence[EmailMessage], mailer: str | None) -> int:
    """Deliver messages now; how many were sent. What goes wrong is logged, and not raised.

    mailer: as of deliver_email().
    """
    if not messages or _delivers.get() or clock.monotonic() < _paused_until[0]:
        return 0
    # A backend may log in a thread of its own, for which it waits: that is no reason to deliver.
    lock = _one_at_a_time[0]
    if not lock.acquire(timeout=LONGEST_WAIT):
        return 0
    token = _delivers.set(True)
    try:
        backend: Any = delivering_backend(mailer)
        if hasattr(backend, "timeout"):
            backend.timeout = min(backend.timeout or LONGEST_WAIT, LONGEST_WAIT)
        return backend.send_messages(messages) or 0
    except Interruption:
        # It is meant for the task that has logged something.
        raise
    except Exception as error:
        _paused_until[0] = clock.monotonic() + PAUSE
        logger.warning(
            "A message to %s was not sent (%s: %s), nor will others be for %g s. It was about a "
            "mail job, or from a log handler of a worker: such mail is not enqueued.",
            ", ".join(messages[0].recipients()),
            type(error).__name__,
            error,
            PAUSE,
        )
        return 0
    finally:
        _delivers.reset(token)
        lock.release()


def _new_lock() -> None:
    """In a fork: another thread of the parent may have had the old one."""
    _one_at_a_time[:] = [threading.Lock()]


os.register_at_fork(after_in_child=_new_lock)


def _is_in_log_handler() -> bool:
    """Whether a record of the log is being handled. It may be another thread that has made it."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_code is not _handle_record:
        frame = frame.f_back  # type: ignore[assignment]
    return frame is not None
