import os

SECRET_KEY = "for tests only"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django_rq",
    "newsletter",
]
ROOT_URLCONF = "site1.urls"
REDIS_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
RQ_QUEUES = {
    "default": {"URL": REDIS_URL, "DEFAULT_TIMEOUT": 360},
    "high": {"URL": REDIS_URL},
    "reports": {"URL": REDIS_URL, "ASYNC": False},
}
# So that the tests' worker sees the tests' transaction.
RQ = {"WORKER_CLASS": "rq.SimpleWorker", "COMMIT_MODE": "auto"}
