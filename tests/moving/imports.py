"""What a site that moves replaces at the beginning of its import lines; see docs/moving.md."""

from __future__ import annotations

RQ = {
    "from django_rq import": "from django_bgtasks.contrib.rq import",
    "from rq import": "from django_bgtasks.contrib.rq import",
    "from rq.job import": "from django_bgtasks.contrib.rq import",
    "import django_rq": "from django_bgtasks.contrib import rq as django_rq",
}
HUEY = {
    "from huey import": "from django_bgtasks.contrib.huey import",
    "from huey.contrib.djhuey import": "from django_bgtasks.contrib.huey import",
    "from huey.exceptions import": "from django_bgtasks.contrib.huey import",
    "from huey.signals import": "from django_bgtasks.contrib.huey import",
    "from huey.contrib import djhuey": "from django_bgtasks.contrib import huey as djhuey",
}
