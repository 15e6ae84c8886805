from .settings import *

INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django_bgtasks",
    "newsletter",
]
TASKS = {
    "default": {
        "BACKEND": "django_bgtasks.backend.RQBackend",
        "QUEUES": [],
        "OPTIONS": {"redis_url": None},
    }
}
