"""What the site has made in a day, for the people who look after it: by the clock, every night."""

from __future__ import annotations

from datetime import timedelta

from django.contrib.auth.models import User
from django.core.mail import send_mail
from django.db import models
from django.utils import timezone

from django_bgtasks import Cron, JobContext, Retry, task

from ..models import Import, Picture, Report

MADE: dict[str, tuple[type[models.Model], str]] = {
    "pictures": (Picture, "uploaded_at"),
    "imports": (Import, "uploaded_at"),
    "reports": (Report, "created_at"),
}


@task(
    queue_name="reports",
    timeout=60,
    atomic=True,
    retry=Retry(max_attempts=3, delays=[60, 600]),
    takes_context=True,
    # Of a night without workers it is sent in the morning; of two weeks without, the last one is.
    schedule=Cron("0 3 * * *", zone="UTC", name="summary"),
)
def send_summary(context: JobContext) -> dict[str, int]:
    """Tell the staff what was made in the 24 hours before the tick, however late the job runs.

    Atomic: the emails are jobs that commit with the record that this one succeeded, or not at all.
    """
    end = context.tick or timezone.now()
    day = (end - timedelta(days=1), end)
    counts = {
        name: model._default_manager.filter(**{f"{field}__range": day}).count()
        for name, (model, field) in MADE.items()
    }
    text = "\n".join(f"{count:,} {name}" for name, count in counts.items())
    subject = f"What was made until {end:%d %B %Y, %H:%M} UTC"
    for user in User.objects.filter(is_staff=True, is_active=True).exclude(email=""):
        send_mail(subject, text, None, [user.email])
    return counts
