from .settings import *

INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django_bgtasks",
    "garden",
]
TASKS = {
    "default": {
        "BACKEND": "django_bgtasks.backend.RQBackend",
        "QUEUES": [],
        "OPTIONS": {"redis_url": None},
    }
}
