from .settings import *

INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django_bgtasks",
    "shop",
]
TASKS = {
    "default": {
        "BACKEND": "django_bgtasks.backend.RQBackend",
        "QUEUES": [],
        "OPTIONS": {"redis_url": os.environ.get("REDIS_URL") or None},
    }
}
