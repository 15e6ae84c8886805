from datetime import timedelta

import django_rq
from django.core.mail import send_mail
from django.utils import timezone
from django_rq import job
from rq import Retry, get_current_job

from .models import Event, Subscriber


@job("high", timeout=60, result_ttl=3600)
def send_welcome(subscriber_id, language="en"):
    """Greet a subscriber."""
    subscriber = Subscriber.objects.get(pk=subscriber_id)
    send_mail(f"Welcome ({language})", "...", "news@example.com", [subscriber.email])
    subscriber.welcomed = True
    subscriber.save()
    current = get_current_job()
    if current is not None:
        current.meta["sent_to"] = subscriber.email
        current.save_meta()
    return subscriber.email


@job
def count_words(text):
    return len(text.split())


@job("default", retry=Retry(max=2))
def flaky():
    Event.objects.create(text="try")
    if Event.objects.filter(text="try").count() < 3:
        raise ConnectionError("not yet")
    return "done"


def import_rows(rows, at=None):
    """A plain function, which is enqueued by its name."""
    for row in rows:
        Event.objects.create(text=f"{row} {at.isoformat() if at else ''}".strip())
    return len(rows)


def explode():
    raise ValueError("boom")


def report_success(job, connection, result, *args, **kwargs):
    Event.objects.create(text=f"success {job.id} {result}")


def report_failure(job, connection, type, value, traceback):
    Event.objects.create(text=f"failure {job.id} {type.__name__}: {value}")


def start_import(rows):
    return django_rq.enqueue(import_rows, rows, at=timezone.now())


def remind(subscriber_id):
    Event.objects.create(text=f"remind {subscriber_id}")


def remind_later(subscriber_id, days):
    queue = django_rq.get_queue("default")
    return queue.enqueue_in(timedelta(days=days), remind, subscriber_id)
