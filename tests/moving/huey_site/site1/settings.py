import os

SECRET_KEY = "for tests only"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "huey.contrib.djhuey",
    "garden",
]
ROOT_URLCONF = "site1.urls"
HUEY = {
    "name": "garden",
    "huey_class": "huey.MemoryHuey",
    "immediate": True,
    "consumer": {"workers": 2},
}
