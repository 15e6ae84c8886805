"""Settings of the site. The environment may say where its data and its Redis are:

TESTPROJECT_VAR       directory of all data (default: testproject/var)
TESTPROJECT_DATABASE  path of the SQLite file (default: db.sqlite3 in it)
TESTPROJECT_URL       the address that emails link to (default: http://127.0.0.1:8000)
REDIS_URL             default: redis://127.0.0.1:6379/0
DJANGO_DEBUG          1 (default) or 0
"""

from __future__ import annotations

import os
from pathlib import Path

import django

from .secret import secret_key

VAR = Path(os.environ.get("TESTPROJECT_VAR") or Path(__file__).resolve().parent / "var")
VAR.mkdir(parents=True, exist_ok=True)

DEBUG = os.environ.get("DJANGO_DEBUG", "1") == "1"
SECRET_KEY = secret_key(VAR / "secret_key")
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "[::1]"]
SITE_URL = os.environ.get("TESTPROJECT_URL", "http://127.0.0.1:8000").rstrip("/")

INSTALLED_APPS = [
    "testproject.office",
    "django_bgtasks",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "testproject.middleware.content_security_policy",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "testproject.urls"
WSGI_APPLICATION = "testproject.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# The site, its jobs and its workers write at the same time. WAL lets readers pass, and IMMEDIATE
# makes a second writer wait for the lock instead of failing when it upgrades to it.
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("TESTPROJECT_DATABASE") or VAR / "db.sqlite3",
        "OPTIONS": {
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
        },
    },
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    # Of the jobs alone: nothing is cached there.
    "bgtasks": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0"),
    },
}

TASKS = {
    "default": {
        "BACKEND": "django_bgtasks.backend.RQBackend",
        "QUEUES": ["default", "emails", "uploads", "reports"],
        "OPTIONS": {"max_depth": {"uploads": 1_000, "reports": 1_000}},
    },
}

# Uploads go to disk as they arrive, on the file system where they will stay: a view that stores
# 200 MB only renames a file.
MEDIA_ROOT = VAR / "media"
FILE_UPLOAD_TEMP_DIR = VAR / "incoming"
FILE_UPLOAD_HANDLERS = ["testproject.office.uploads.HashingUploadHandler"]
UPLOAD_MAX_BYTES = 1024**3
for directory in (MEDIA_ROOT, FILE_UPLOAD_TEMP_DIR):
    directory.mkdir(exist_ok=True)

# The provider that knows cities: how long it takes, and where it counts its calls.
GEOCODER_SECONDS = 1.0
GEOCODER_DIRECTORY = VAR / "geocoder"

STATIC_URL = "static/"

# Emails become files. Whatever the site sends goes out in the background; "direct" is for tasks,
# which are in the background already.
DEFAULT_FROM_EMAIL = "Office <office@example.com>"
MAIL_DIRECTORY = VAR / "mail"
BACKGROUND_MAILER = "django_bgtasks.mail.BackgroundEmailBackend"
FILE_MAILER = "django.core.mail.backends.filebased.EmailBackend"
if django.VERSION >= (6, 1):
    MAILERS = {
        "default": {
            "BACKEND": BACKGROUND_MAILER,
            "OPTIONS": {"mailer": "direct", "queue": "emails"},
        },
        "direct": {"BACKEND": FILE_MAILER, "OPTIONS": {"file_path": MAIL_DIRECTORY}},
    }
else:
    EMAIL_BACKEND = BACKGROUND_MAILER
    EMAIL_FILE_PATH = MAIL_DIRECTORY
    BGTASKS_EMAIL_BACKEND = FILE_MAILER
    BGTASKS_EMAIL_QUEUE = "emails"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "office:login"
LOGIN_REDIRECT_URL = "office:home"
LOGOUT_REDIRECT_URL = "office:home"

USE_TZ = True
TIME_ZONE = "UTC"
USE_THOUSAND_SEPARATOR = True

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
}
