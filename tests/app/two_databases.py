"""The site of the tests with its jobs in a database of their own.

BGTASKS_TEST_JOBS_DB: the name of that database.
BGTASKS_TEST_JOBS_APPS: what else has tables there: "none", or "all".
"""

import os
from typing import Any

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES

DATABASES["jobs"] = {**DATABASES["default"], "NAME": os.environ["BGTASKS_TEST_JOBS_DB"]}
DATABASE_ROUTERS = ["tests.app.two_databases.JobsApart"]


class JobsApart:
    """As in Django's documentation of database routers."""

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        return "jobs" if model._meta.app_label == "django_bgtasks" else None

    db_for_write = db_for_read

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        if app_label == "django_bgtasks":
            return db == "jobs"
        alone = os.environ["BGTASKS_TEST_JOBS_APPS"] == "none"
        return False if alone and db == "jobs" else None
