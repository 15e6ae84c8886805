"""The Celery app of the comparison, and the body as its task."""

from celery import Celery

from .body import body

app = Celery("peers")
app.config_from_object("django.conf:settings", namespace="CELERY")
run = app.task(body, name="peers.run")
