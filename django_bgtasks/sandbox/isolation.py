"""Each job has a context of its own: language, time zone, URL conf, and all context variables.

What is per thread or per context in Django would reach the next job of the thread: here is no end
of a request, at which Django forgets it.
"""

from __future__ import annotations

import decimal
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any

from django import db
from django.conf import settings
from django.core.cache.backends.base import BaseCache


def isolated(act: Callable[..., Any], *args: Any) -> Any:
    """Return what act() returns. What it sets in its context is gone then; caches stay open."""
    context = copy_context()
    try:
        return context.run(_begin, act, args)
    finally:
        _keep_caches(context)


def own_decimals() -> None:
    """A copy of a context has the same decimal context, and not a copy of that."""
    decimal.setcontext(decimal.getcontext().copy())


def _begin(act: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    own_decimals()
    if settings.DEBUG:
        # As with each request: Django keeps them all.
        db.reset_queries()
    return act(*args)


def _keep_caches(context: Context) -> None:
    """A cache that each job had to connect to anew would be none."""
    for variable, value in context.items():
        if isinstance(value, BaseCache) and variable.get(None) is not value:
            variable.set(value)
