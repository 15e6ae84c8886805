from .settings import *

# Its package crontab and django-celery-beat's have one name: a site has one of the two.
INSTALLED_APPS = [app for app in INSTALLED_APPS if app not in ("django_celery_beat", "django_q")]
