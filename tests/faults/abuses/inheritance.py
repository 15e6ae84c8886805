"""What a task sets for itself, and the next job would inherit."""

from __future__ import annotations

import asyncio
import decimal
import faulthandler
import locale
import logging
import logging.config
import multiprocessing
import os
import resource
import signal
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from contextvars import ContextVar
from typing import Any

from asgiref.local import Local
from django.urls import get_script_prefix, get_urlconf, set_script_prefix, set_urlconf
from django.utils import timezone, translation

from .kinds import kind, left

tenant: ContextVar[str] = ContextVar("tenant", default="none")
request = Local()


LIMITS = (resource.RLIMIT_CPU, resource.RLIMIT_DATA, resource.RLIMIT_STACK, resource.RLIMIT_NPROC)
TIMERS = (signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)


def is_given_a_closed_loop() -> bool:
    """What a task finds that asks for a loop, and makes one where there is none."""
    try:
        return asyncio.get_event_loop().is_closed()
    except RuntimeError:
        return False


def inherited() -> dict[str, Any]:
    """All of it that this task finds."""
    return {
        "language": translation.get_language(),
        "time zone": timezone.get_current_timezone_name(),
        "URL conf": get_urlconf(),
        "script prefix": get_script_prefix(),
        "context variable": tenant.get(),
        "local": getattr(request, "user", None),
        "decimals": decimal.getcontext().prec,
        "locale": locale.setlocale(locale.LC_ALL),
        "errors of warnings": [one for one in warnings.filters if one[0] == "error"],
        "limits": [resource.getrlimit(limit) for limit in LIMITS],
        "timers": [signal.getitimer(timer) for timer in TIMERS],
        "closed loop": is_given_a_closed_loop(),
        "niceness": os.getpriority(os.PRIO_PROCESS, 0),
        "quit": str(signal.getsignal(signal.SIGQUIT)),
        "level": logging.getLogger().level,
        "site's log": not logging.getLogger("shop").disabled,
    }


@kind
def activates_a_language() -> None:
    translation.activate("de")


@kind
def activates_a_time_zone() -> None:
    timezone.activate("Asia/Tokyo")


@kind
def sets_the_url_conf() -> None:
    set_urlconf("shop.urls")
    set_script_prefix("/shop/")


@kind
def sets_a_context_variable() -> None:
    tenant.set("customer 17")
    request.user = "customer 17"


@kind
def changes_the_decimal_context() -> None:
    decimal.getcontext().prec = 3


@kind
def changes_its_locale() -> None:
    locale.setlocale(locale.LC_ALL, "C")


@kind
def makes_errors_of_warnings() -> None:
    warnings.simplefilter("error")


@kind
def limits_its_seconds() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (2, most))


@kind
def limits_its_memory_and_threads() -> None:
    for limit in (resource.RLIMIT_DATA, resource.RLIMIT_STACK, resource.RLIMIT_NPROC):
        _, most = resource.getrlimit(limit)
        low = 2**20 if most == resource.RLIM_INFINITY else min(2**20, most - 1)
        resource.setrlimit(limit, (low, most))


@kind
def leaves_timers() -> None:
    """As a profiler that is not stopped."""
    signal.setitimer(signal.ITIMER_VIRTUAL, 0.2)
    signal.setitimer(signal.ITIMER_PROF, 0.2)


@kind
def leaves_a_watchdog() -> None:
    """It ends its process: at once where the next job takes as long."""
    faulthandler.dump_traceback_later(1, exit=True)


@kind
def closes_the_loop_that_it_set() -> None:
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.close()


@kind
def lowers_a_limit_for_good() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))


@kind
def is_nice() -> None:
    os.nice(5)


@kind
def handles_quit_and_hang_up() -> None:
    signal.signal(signal.SIGQUIT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


@kind
def configures_the_log() -> None:
    """As copied from a tutorial, with all loggers that exist disabled."""
    logging.config.dictConfig(
        {
            "version": 1,
            "handlers": {"null": {"class": "logging.NullHandler"}},
            "root": {"level": "ERROR", "handlers": ["null"]},
        }
    )


@kind
def configures_the_worker_s_log() -> None:
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "loggers": {"django_bgtasks": {"level": "ERROR", "propagate": False}},
        }
    )


@kind
def removes_log_handlers() -> None:
    for name in ("", "django_bgtasks", "django_bgtasks.worker"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.setLevel(logging.CRITICAL)
        logger.disabled = bool(name)


@kind
def leaks_descriptors() -> None:
    """Most of what it may have."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    while os.open(os.devnull, os.O_RDONLY) < most * 0.95:
        pass


def daemon(method: str) -> str:
    context: Any = multiprocessing.get_context(method)
    process = context.Process(target=time.sleep, args=(60,), daemon=True)
    process.start()
    left.append(process)
    return str(process.pid)


@kind
def leaves_a_daemon() -> str:
    return daemon("fork")


@kind
def leaves_a_spawned_daemon() -> str:
    return daemon("spawn")


@kind
def leaves_a_pool_executor() -> str:
    pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork"))
    left.append(pool)
    return str(pool.submit(os.getpid).result())
