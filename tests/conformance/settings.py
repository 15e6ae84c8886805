"""The site in which they run: without TASKS, as in their own runs; suite.py puts ours there."""

from __future__ import annotations

import os

SECRET_KEY = "for the tests only"
USE_TZ = True
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django_tasks",
    "django_bgtasks",
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
if os.environ.get("BGTASKS_CONFORMANCE") == "tests_of_others":
    INSTALLED_APPS += ["django.contrib.admin", "django.contrib.messages", "django_tasks_db"]
    TASKS = {
        "default": {
            "BACKEND": "django_bgtasks.backend.RQBackend",
            "QUEUES": ["default", "queue-1"],
        }
    }
if os.environ.get("BGTASKS_CONFORMANCE") == "tests_of_backport":
    ROOT_URLCONF = "tests_of_backport.urls"
    INSTALLED_APPS += ["django.contrib.admin", "django.contrib.sessions"]
