import os

SECRET_KEY = "for tests only"
USE_TZ = True
TIME_ZONE = "Europe/Berlin"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django_bgtasks",
    "django_celery_beat",
    "django_q",
    "stock",
]
REDIS_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
RQ_QUEUES = {"default": {"URL": REDIS_URL}, "high": {"URL": REDIS_URL}}
HUEY = {"name": "stock-site", "connection": {"url": REDIS_URL}, "immediate": False}
Q_CLUSTER = {"name": "stock", "orm": "default", "timeout": 60, "retry": 120}
TASKS = {
    "default": {
        "BACKEND": "django_bgtasks.backend.RQBackend",
        "QUEUES": [],
        "OPTIONS": {"redis_url": None},
    }
}
