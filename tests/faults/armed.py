"""The settings of a process whose fault points are armed: a test's strike may hit it there."""

from __future__ import annotations

from django_bgtasks.core import faultpoints

from .strikes import strike

# Before the apps are loaded: a module that is imported already has no fault points any more.
faultpoints.arm(strike)

from tests.settings import *  # noqa: E402, F403
