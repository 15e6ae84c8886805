"""The measurements by name. Each returns figures by name, in the unit that the name says."""

from __future__ import annotations

from .admin import admin
from .backlog import backlog, maintenance
from .dashboard import dashboard
from .drain import drain
from .enqueue import enqueue
from .failures import failures
from .limits import limits
from .memory import job_process, memory
from .mixed import mixed
from .pickup import pickup
from .schedules import schedules
from .silent_redis import silent_redis
from .start import start
from .statements import statements
from .waiting import coroutines, threads
from .workflows import workflows

BENCHMARKS = {
    "pickup": pickup,
    "start": start,
    "memory": memory,
    "job_process": job_process,
    "enqueue": enqueue,
    "silent_redis": silent_redis,
    "drain": drain,
    "mixed": mixed,
    "statements": statements,
    "maintenance": maintenance,
    "backlog": backlog,
    "coroutines": coroutines,
    "threads": threads,
    "dashboard": dashboard,
    "failures": failures,
    "admin": admin,
    "schedules": schedules,
    "limits": limits,
    "workflows": workflows,
}
