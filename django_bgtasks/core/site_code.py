"""What code of the site raises where nobody waits for it: receivers, middleware, `on_failure`."""

from __future__ import annotations

import logging
import signal
import traceback
from asyncio import CancelledError

from .current import is_worker
from .errors import Interruption

logger = logging.getLogger("django_bgtasks")


def log_failure(error: BaseException, text: str, *args: object) -> None:
    """Log, in its handler, what was raised about something that stands already.

    It goes no further, neither what a coroutine that is cancelled raises nor, in a worker, what
    else is no mere Exception. What is for the process is raised again. text, args: of the line.
    """
    if not isinstance(error, Exception):
        is_known = is_worker() or isinstance(error, SystemExit | CancelledError)
        if not is_known or is_for_the_process(error):
            raise error
    logger.error(text, *args, exc_info=error)


def is_for_the_process(error: BaseException) -> bool:
    """Whether this is not about the task: Ctrl-C, or what a signal handler of the site raised."""
    if isinstance(error, KeyboardInterrupt):
        return True
    handlers = [signal.getsignal(number) for number in signal.valid_signals()]
    # Of functions and methods, and of objects that can be called.
    functions = [*handlers, *(vars(type(handler)).get("__call__") for handler in handlers)]
    codes = {getattr(function, "__code__", None) for function in functions} - {None}
    frames = (frame for frame, _line in traceback.walk_tb(error.__traceback__))
    return not isinstance(error, Interruption) and any(frame.f_code in codes for frame in frames)
