"""What a site that moves replaces at the beginning of its import lines; see docs/moving.md."""

from __future__ import annotations

RQ = {
    **{
        f"from {module} import": "from django_bgtasks.contrib.rq import"
        for module in (
            *("django_rq", "django_rq.decorators", "django_rq.queues", "rq", "rq.command"),
            *("rq.decorators", "rq.job", "rq.queue", "rq.registry", "rq.timeouts", "rq.worker"),
            *("django_rq.workers", "rq_scheduler"),
        )
    },
    "import django_rq": "from django_bgtasks.contrib import rq as django_rq",
}
HUEY = {
    **{
        f"from {module} import": "from django_bgtasks.contrib.huey import"
        for module in (
            *("huey", "huey.contrib.djhuey", "huey.exceptions", "huey.signals", "django_huey"),
        )
    },
    "import huey": "from django_bgtasks.contrib import huey",
    "from huey.contrib import djhuey": "from django_bgtasks.contrib import huey as djhuey",
}
