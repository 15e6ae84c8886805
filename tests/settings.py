"""The site of the tests. Its servers are named by the environment; conftest.py starts them.

BGTASKS_TEST_DB: sqlite (the default), postgres or mysql.
BGTASKS_TEST_DB_NAME: in the processes that a test starts, the database of that test.
BGTASKS_TEST_OPTIONS: the OPTIONS of the backend, as JSON.
BGTASKS_TEST_TASKS: TASKS as a whole, as JSON.
BGTASKS_TEST_CACHE_OPTIONS: more OPTIONS of the cache, as JSON, such as those for Sentinel.
BGTASKS_TEST_DB_OPTIONS: more OPTIONS of the database, as JSON.
BGTASKS_TEST_ISOLATION: its isolation level, such as "repeatable read"; not for SQLite.
BGTASKS_TEST_USE_TZ, BGTASKS_TEST_TIME_ZONE, BGTASKS_TEST_DB_TIME_ZONE: USE_TZ (0 or 1), TIME_ZONE,
    and the TIME_ZONE of the database.
BGTASKS_TEST_LOGGING: the LOGGING of the site, as JSON.
BGTASKS_TEST_UNFOLD: if it is set, the admin is django-unfold's.
BGTASKS_TEST_DIR: where files go; conftest.py makes a new one for each session.
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from testproject.servers import database_settings

DIR = Path(os.environ.get("BGTASKS_TEST_DIR", tempfile.gettempdir()))
DATABASE = os.environ.get("BGTASKS_TEST_DB", "sqlite")
WITH_UNFOLD = bool(os.environ.get("BGTASKS_TEST_UNFOLD"))
REDIS_URL = os.environ.get("BGTASKS_TEST_REDIS_URL", "redis://127.0.0.1:6379/0")
ISOLATION = os.environ.get("BGTASKS_TEST_ISOLATION", "")
STRICTER = ("repeatable read", "serializable")


def at_level(isolation: str) -> dict[str, Any]:
    """The OPTIONS of a database for this isolation level, also outside of transactions."""
    if DATABASE == "postgres" and isolation:
        level = isolation.replace(" ", r"\ ")
        return {"options": f"-c default_transaction_isolation={level}"}
    return {"isolation_level": isolation} if isolation else {}


def _database() -> dict[str, Any]:
    options = json.loads(os.environ.get("BGTASKS_TEST_DB_OPTIONS", "{}"))
    if DATABASE == "postgres":
        url = os.environ.get("BGTASKS_TEST_POSTGRES_URL", "postgresql://127.0.0.1/postgres")
        return {**database_settings(url), "OPTIONS": {**at_level(ISOLATION), **options}}
    if DATABASE == "mysql":
        url = os.environ.get("BGTASKS_TEST_MYSQL_URL", "mysql://root@127.0.0.1/bgtasks")
        level = at_level(ISOLATION or "read committed")
        return {**database_settings(url), "OPTIONS": {**level, **options}}
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DIR / "site.sqlite3",
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
            **options,
        },
        # A file, for the processes that a test starts open it too.
        "TEST": {"NAME": DIR / "test.sqlite3"},
    }


DATABASES = {"default": _database()}
if test_database := os.environ.get("BGTASKS_TEST_DB_NAME"):
    DATABASES["default"]["NAME"] = test_database
if database_zone := os.environ.get("BGTASKS_TEST_DB_TIME_ZONE"):
    DATABASES["default"]["TIME_ZONE"] = database_zone

CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": REDIS_URL,
        "OPTIONS": {
            "SERIALIZER": "django_redis.serializers.json.JSONSerializer",
            **json.loads(os.environ.get("BGTASKS_TEST_CACHE_OPTIONS", "{}")),
        },
    }
}
TASKS = {
    "default": {
        "BACKEND": "django_bgtasks.backend.RQBackend",
        "QUEUES": ["default", "emails", "reports", "uploads"],
        "OPTIONS": json.loads(os.environ.get("BGTASKS_TEST_OPTIONS", "{}")),
    }
}
if tasks := os.environ.get("BGTASKS_TEST_TASKS"):
    TASKS = json.loads(tasks)

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_tasks",
    "django_bgtasks",
    "tests.app",
    "testproject.office",
]
if WITH_UNFOLD:
    INSTALLED_APPS.insert(0, "unfold")
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

LOGGING: dict[str, Any] = json.loads(os.environ.get("BGTASKS_TEST_LOGGING", "{}"))
ROOT_URLCONF = "tests.urls"
SECRET_KEY = "for the tests only"
ALLOWED_HOSTS = ["*"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
MEDIA_ROOT = DIR / "media"
SITE_URL = "http://testserver"
UPLOAD_MAX_BYTES = 10_000_000
STATIC_URL = "static/"
TIME_ZONE = os.environ.get("BGTASKS_TEST_TIME_ZONE", "UTC")
USE_TZ = os.environ.get("BGTASKS_TEST_USE_TZ", "1") == "1"
